//! Goodbyes: which of them counts, and when it is the end.

use super::*;

#[test]
fn what_had_arrived_is_read_after_the_peers_end() {
    let mut script = begun();
    script.read_end(true).wait_ms(3_000).read(delta("late")).read([DONE, LAST].concat()).close();
    let run = run(script.records());
    assert_eq!((run.outcomes(), run.only().chunks), (vec!["complete"], 2));
}

#[test]
fn the_earlier_goodbye_counts() {
    let mut script = begun();
    let peer = script.now();
    script.wait_ms(5).shutdown().wait_ms(5).close();
    let mut records = script.records().to_vec();
    let end = OwnedRecord { record: Record::ReadEnd { conn: script.key(), at: peer, clean: true }, bytes: Vec::new() };
    records.insert(records.len() - 1, end);
    let run = run(&records);
    assert_eq!((run.outcomes(), run.only().ended), (vec!["truncated"], Some(peer)));
}

#[test]
fn a_goodbye_ends_the_call_even_if_the_object_stays() {
    for (local, grace) in [(true, limits::LOCAL_GRACE_NS), (false, limits::PEER_GRACE_NS)] {
        let mut script = begun();
        if local {
            script.shutdown()
        } else {
            script.read_end(true)
        };
        let mut run = run(script.records());
        run.pipeline.tick(Ns(script.now().0 + grace / 2));
        assert_eq!(run.outcomes(), [""; 0]);
        run.pipeline.tick(Ns(script.now().0 + grace + 1));
        assert_eq!(run.outcomes(), [if local { "client_cancel" } else { "truncated" }]);
        assert!(run.only().ended <= Some(script.now()), "ended at the goodbye, not when it was noticed");
    }
}

#[test]
fn a_connection_whose_end_was_lost_ends_with_its_successor() {
    let old = begun();
    let mut new = FakeTlsConn::new(10, 1).generation(8);
    new.wait_ms(5_000).write(chat());
    let mut run = run(old.records());
    run.play(&new.records()[1..]);
    // The open record of the successor carries its own birth, later than anything of the old one.
    assert_eq!(run.pipeline.call_table().open().count(), 1);
    assert_eq!(run.outcomes(), ["lost"]);
}
