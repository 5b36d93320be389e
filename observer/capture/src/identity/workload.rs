//! A pod's workload from its name: what the controllers append is taken off. A guess, but of closed
//! forms: random suffixes use Kubernetes' own alphabet without vowels, and template hashes a part
//! of it. Where the name was cut it tells nothing, and nothing is said.

/// Longest pod name that a controller makes: 58 characters of its own, and five at random.
const LONGEST: usize = 63;
const RANDOM: usize = 5;

/// `shop-7d9f8c6b5d-x2x4z` → `shop` (deployment), `db-0` → `db` (stateful set), `agent-x7k2p` →
/// `agent` (daemon set, job), `report-28394857-x7k2p` → `report` (cron job), `job-0-x7k2p` → `job`
/// where it is `indexed`. A name of no such form, or that nobody made (`fixed`: a static pod), is
/// its own workload. `None`: the name was cut, and does not tell.
pub(super) fn of_pod(pod: &str, fixed: bool, indexed: bool) -> Option<String> {
    if fixed {
        return Some(pod.to_owned());
    }
    let own = match pod.rsplit_once('-') {
        Some((rest, last)) if ordinal(last) => return Some(rest.to_owned()),
        Some((rest, last)) if last.len() == RANDOM && random(last) => rest,
        _ if pod.len() == LONGEST => return of_cut(pod),
        _ => return Some(pod.to_owned()),
    };
    // At its full length the dash may be the name's own, and the name cut behind it.
    if pod.len() == LONGEST {
        return template(own).map(str::to_owned);
    }
    if let Some(workload) = template(own) {
        return Some(workload.to_owned());
    }
    // Only the pod itself tells an index from the end of a job's name.
    let job = match own.rsplit_once('-') {
        Some((job, index)) if indexed && index.bytes().all(|b| b.is_ascii_digit()) => job,
        _ => own,
    };
    let scheduled = job.rsplit_once('-').filter(|(_, minutes)| minute(minutes));
    Some(scheduled.map_or(job, |(cron_job, _)| cron_job).to_owned())
}

/// A name that was cut before its random end: only if most of a template's hash is left is it known what was cut.
fn of_cut(pod: &str) -> Option<String> {
    let (own, last) = pod.split_at_checked(LONGEST - RANDOM)?;
    let (workload, hash) = own.rsplit_once('-')?;
    (random(last) && hash.len() >= 6 && hash.bytes().all(|b| TEMPLATE.contains(&b))).then(|| workload.to_owned())
}

/// A template's hash is a number of 32 bits, written with other characters for its digits.
const TEMPLATE: &[u8] = b"456789bcdf";

fn template(name: &str) -> Option<&str> {
    let (workload, hash) = name.rsplit_once('-')?;
    // Of ten digits or one fewer, in 998 of 1,000 cases; the number has no zero in front.
    let fits = (7..=10).contains(&hash.len()) && !hash.starts_with('4');
    (fits && hash.bytes().all(|b| TEMPLATE.contains(&b))).then_some(workload)
}

fn ordinal(text: &str) -> bool {
    !text.is_empty() && text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit())
}

/// Minutes since 1970, as cron jobs name their jobs: from 2015 to 2100.
fn minute(text: &str) -> bool {
    text.len() == 8 && text.parse().is_ok_and(|minutes: u32| (23_668_000..68_400_000).contains(&minutes))
}

/// The alphabet of `k8s.io/apimachinery/pkg/util/rand`.
fn random(text: &str) -> bool {
    text.bytes().all(|b| b"bcdfghjklmnpqrstvwxz2456789".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::of_pod;

    #[test]
    fn controllers_suffixes_go() {
        for (pod, workload) in [
            ("shop-7d9f8c6b5d-x2x4z", "shop"),
            ("shop-api-5f6d7c8b9-zz2bx", "shop-api"),
            ("shop-6d7c8b9-zz2bx", "shop"),
            ("db-0", "db"),
            ("db-12", "db"),
            ("agent-x7k2p", "agent"),
            ("agent-2-x7k2p", "agent-2"),
            ("report-28394857-x7k2p", "report"),
            ("report-12345678-x7k2p", "report-12345678"),
            ("tls-wrktrpx-x7k2p", "tls-wrktrpx"),
            ("kube-proxy", "kube-proxy"),
            ("lonely", "lonely"),
            ("debug-shell", "debug-shell"),
            ("", ""),
            ("-", "-"),
            ("é-x7k2p", "é"),
        ] {
            assert_eq!(of_pod(pod, false, false).as_deref(), Some(workload), "{pod}");
        }
    }

    #[test]
    fn an_index_is_known_by_the_pod_alone() {
        assert_eq!(of_pod("job-0-x7k2p", false, true).as_deref(), Some("job"));
        assert_eq!(of_pod("report-28394857-12-x7k2p", false, true).as_deref(), Some("report"));
        assert_eq!(of_pod("job-0-x7k2p", false, false).as_deref(), Some("job-0"));
    }

    #[test]
    fn static_pods_are_their_own() {
        assert_eq!(of_pod("etcd-server-zb5kt", true, false).as_deref(), Some("etcd-server-zb5kt"));
    }

    /// 58 characters of a name, then five at random.
    #[test]
    fn of_a_name_that_was_cut_nothing_is_said_unless_its_hash_shows() {
        let cut = |own: &str| of_pod(&format!("{own:a<58.58}x7k2p"), false, false);
        assert_eq!(cut("recommendations"), None);
        let long = "b".repeat(50);
        assert_eq!(cut(&format!("{long}-7d9f8c6")).as_deref(), Some(long.as_str()));
        assert_eq!(cut(&format!("{}-7d9", "e".repeat(54))), None, "three characters may be the name's own");
        let whole = format!("{}-7d9f8c6b5d-", "e".repeat(46));
        assert_eq!(cut(&whole).as_deref(), Some("e".repeat(46).as_str()));
        assert_eq!(cut(&format!("{}-", "e".repeat(57))), None, "its hash may have been cut");
        let exact = format!("{}-x7k2p", "e".repeat(56));
        assert_eq!(of_pod(&exact, false, false).unwrap().len(), 56);
    }
}
