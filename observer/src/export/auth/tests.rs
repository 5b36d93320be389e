use std::net::Ipv4Addr;

use super::*;

fn peer(n: u32) -> PeerNetwork {
    PeerNetwork::of(Ipv4Addr::from_bits(n).into())
}

fn users(of: &[(&str, &str, u32)]) -> BTreeMap<String, String> {
    of.iter().map(|(user, password, cost)| ((*user).to_owned(), bcrypt::hash(password, *cost).unwrap())).collect()
}

fn basic(text: &str) -> String {
    format!("Basic {}", encoded(text.as_bytes()))
}

fn encoded(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        (0..=three.len()).for_each(|n| text.push(char::from(DIGITS[(bits >> (18 - 6 * n) & 63) as usize])));
    }
    text
}

#[test]
fn credentials_are_read() {
    for (user, password) in [("u", "p"), ("u", "pw"), ("", ""), ("😀", "x:y")] {
        let header = format!("bAsic {}", encoded(format!("{user}:{password}").as_bytes()));
        assert_eq!(credentials(&header), Some((user.to_owned(), password.to_owned())));
    }
    for header in ["Basic d:", "Basic dQ==", "Bearer dTpw", "dTpw"] {
        assert_eq!(credentials(header), None, "{header}");
    }
}

#[tokio::test]
async fn only_the_right_password_opens() {
    let auth = Authenticator::default();
    let known = users(&[("u", "p", 4)]);
    // Twice each: the second answer comes from memory.
    for n in 0..2 {
        assert_eq!(auth.check(peer(1), Some("Basic dTpw"), &known).await, LoginOutcome::Allowed);
        for wrong in ["Basic dTpwdw==", "Basic eDpw", "Bearer dTpw", "Basic", "Basic !", ""] {
            assert_eq!(auth.check(peer(2), Some(wrong), &known).await, LoginOutcome::Denied, "{n} {wrong}");
        }
        assert_eq!(auth.check(peer(1), None, &known).await, LoginOutcome::Denied);
    }
    // A changed hash is another question.
    assert_eq!(auth.check(peer(1), Some("Basic dTpw"), &users(&[("u", "q", 4)])).await, LoginOutcome::Denied);
}

#[tokio::test]
async fn who_guesses_is_stopped_and_who_knows_is_not() {
    let auth = Authenticator::default();
    let known = users(&[("u", "p", 4)]);
    assert_eq!(auth.check(peer(1), Some(&basic("u:p")), &known).await, LoginOutcome::Allowed);
    let (mut denied, mut stopped) = (0, 0);
    for n in 0..200 {
        match auth.check(peer(1), Some(&basic(&format!("u:guess-{n}"))), &known).await {
            LoginOutcome::Denied => denied += 1,
            LoginOutcome::TooMany => stopped += 1,
            other => panic!("{other:?}"),
        }
    }
    // A try may have come back on a slow machine.
    assert!((5..20).contains(&denied) && stopped > 150, "{denied} {stopped}");
    // The list of wrong ones is full of guesses: the right one is in another.
    assert_eq!(auth.check(peer(1), Some(&basic("u:p")), &known).await, LoginOutcome::Allowed);
    // And a peer that did nothing wrong may log in for the first time.
    let more = users(&[("u", "p", 4), ("v", "q", 4)]);
    assert_eq!(auth.check(peer(2), Some(&basic("v:q")), &more).await, LoginOutcome::Allowed);
}

#[test]
fn who_does_not_exist_costs_what_others_cost() {
    let auth = Authenticator::default();
    for cost in [4, 6, 12] {
        let known: BTreeMap<String, String> =
            [("u".to_owned(), format!("$2y${cost:02}${NOBODY}")), ("v".to_owned(), format!("$2y${cost:02}${NOBODY}"))]
                .into();
        let hash = auth.nobody("stranger", &known);
        assert_eq!(hash.parse::<bcrypt::HashParts>().unwrap().get_cost(), cost);
    }
    // Of several costs each name has one, always the same.
    let mixed = users(&[("u", "p", 4), ("v", "p", 5)]);
    let hashes: Vec<String> = (0..64).map(|n| auth.nobody(&format!("stranger-{n}"), &mixed)).collect();
    assert_eq!(hashes, (0..64).map(|n| auth.nobody(&format!("stranger-{n}"), &mixed)).collect::<Vec<_>>());
    assert!(
        hashes.iter().any(|hash| hash.starts_with("$2b$04$")) && hashes.iter().any(|hash| hash.starts_with("$2b$05$"))
    );
    // It is a hash that is really computed.
    assert_eq!(bcrypt::verify("", &auth.nobody("x", &users(&[("u", "p", 4)]))).ok(), Some(false));
}

/// A login with an unknown name takes as long as one with a known name and a wrong password.
#[tokio::test]
async fn the_time_of_an_answer_tells_no_names() {
    let auth = Authenticator::default();
    let known = users(&[("u", "p", 8)]);
    let mut times = [Duration::MAX; 2];
    // The shortest of nine: others use this machine too.
    for n in 0..9 {
        for (user, least) in ["u", "nobody"].into_iter().zip(&mut times) {
            let begun = Instant::now();
            let login = auth.check(peer(n), Some(&basic(&format!("{user}:wrong-{n}"))), &known).await;
            assert_eq!(login, LoginOutcome::Denied);
            *least = begun.elapsed().min(*least);
        }
    }
    let ratio = times[1].as_secs_f64() / times[0].as_secs_f64();
    assert!((0.5..2.0).contains(&ratio), "{times:?}");
}
