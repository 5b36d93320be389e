//! A pod's workload from its name: what the controllers append is taken off. A guess, but of closed forms: random
//! suffixes use Kubernetes' own alphabet without vowels.

/// `shop-7d9f8c6b5d-x2x4z` → `shop` (deployment), `db-0` → `db` (stateful set), `agent-x7k2p` → `agent` (daemon set, job),
/// `report-28394857-x7k2p` → `report` (cron job). A name of no such form is its own workload.
pub fn of_pod(pod: &str) -> String {
    let Some((rest, last)) = pod.rsplit_once('-') else { return pod.to_owned() };
    if last.bytes().all(|b| b.is_ascii_digit()) && !last.is_empty() && last.len() <= 4 {
        return rest.to_owned();
    }
    if last.len() != 5 || !random(last) {
        return pod.to_owned();
    }
    match rest.rsplit_once('-') {
        Some((workload, hash)) if (8..=10).contains(&hash.len()) && random(hash) => workload.to_owned(),
        Some((workload, time)) if time.len() >= 8 && time.bytes().all(|b| b.is_ascii_digit()) => workload.to_owned(),
        _ => rest.to_owned(),
    }
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
            ("db-0", "db"),
            ("db-12", "db"),
            ("agent-x7k2p", "agent"),
            ("report-28394857-x7k2p", "report"),
            ("kube-proxy", "kube-proxy"),
            ("lonely", "lonely"),
            ("debug-shell", "debug-shell"),
            ("", ""),
            ("-", "-"),
        ] {
            assert_eq!(of_pod(pod), workload);
        }
    }
}
