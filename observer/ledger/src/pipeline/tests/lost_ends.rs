//! Ends that the ring had no room for, on connections that are kept: what the kernel's table says of them.

use super::*;

const MS: u64 = 1_000_000;

/// A stream of two events, of which the rest may have been `lost`, and then the audit.
fn audited(lost: u64, gone: bool) -> (FakeTlsConn, Run) {
    let mut script = FakeTlsConn::new(10, 1);
    script.write(chat()).wait_ms(9).read([HEAD, &delta("Hello")].concat()).wait_ms(9).read(delta("there"));
    script.wait_ms(9).lose(Direction::Read, lost).wait_ms(2_000).audited(gone);
    let run = run(script.records());
    (script, run)
}

/// Bytes missing in the only call.
fn lost(run: &Run) -> u64 {
    run.only().lost.iter().filter_map(|loss| loss.bytes).sum()
}

#[test]
fn a_call_whose_end_was_lost_is_not_open_for_as_long_as_its_connection() {
    let (script, mut run) = audited(100, false);
    assert_eq!((lost(&run), run.only().outcome), (100, None));
    run.pipeline.tick(Ns(script.now().0 + limits::LOST_END_NS - 100 * MS));
    assert_eq!(run.only().outcome, None, "it may go on");
    run.pipeline.tick(Ns(script.now().0 + limits::LOST_END_NS));
    assert_eq!((run.only().outcome, run.only().chunks), (Some(CallOutcome::Lost), 2));
}

#[test]
fn a_call_that_goes_on_behind_the_loss_is_open() {
    let (mut script, mut run) = audited(100, false);
    let told = script.records().len();
    script.wait_ms(30_000).read_each(5, [delta("and"), delta("again")]);
    run.play(&script.records()[told..]);
    run.pipeline.tick(Ns(script.now().0 + limits::LOST_END_NS - 100 * MS));
    assert_eq!(
        (run.only().outcome, run.only().chunks),
        (None, 3),
        "the first piece behind a gap may be the rest of one"
    );
}

/// The near miss: silent for as long, but nothing was lost.
#[test]
fn a_silent_call_of_which_nothing_is_missing_is_open() {
    let (script, mut run) = audited(0, false);
    run.pipeline.tick(Ns(script.now().0 + 10 * limits::LOST_END_NS));
    assert_eq!((lost(&run), run.only().outcome), (0, None));
}

#[test]
fn an_object_that_is_gone_has_taken_its_call_along() {
    let (_, run) = audited(0, true);
    assert_eq!((run.only().outcome, run.pipeline.connection_count()), (Some(CallOutcome::Lost), 0));
}

/// A table that says what is known already, or less, changes nothing.
#[test]
fn an_audit_that_comes_late_is_no_news() {
    let mut script = FakeTlsConn::new(10, 1);
    script.write(chat()).wait_ms(9).read([HEAD, &delta("Hello")].concat()).audited(false);
    script.wait_ms(9).read(delta("there")).read([DONE, LAST].concat());
    let mut records = script.records().to_vec();
    let audit = records.iter().position(|owned| matches!(owned.record, Record::Audited { .. })).unwrap();
    let late = records.remove(audit);
    records.push(late);
    let run = run(&records);
    assert_eq!((run.outcomes(), lost(&run), run.only().chunks), (vec!["complete"], 0, 2));
}
