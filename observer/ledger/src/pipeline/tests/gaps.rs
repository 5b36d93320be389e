//! Gaps between the chunks of a call, and which of them are stalls.

use super::*;

#[test]
fn events_of_one_read_have_no_gap_between_them() {
    let mut script = FakeTlsConn::new(10, 1);
    script.write(chat()).read(HEAD);
    for _ in 0..5 {
        script.wait_ms(100).read([delta("a"), delta("b"), delta("")].concat());
    }
    script.read([DONE, LAST].concat()).close();
    let run = run(script.records());
    let gaps: Vec<i64> = run.ear().gaps.iter().map(|gap| gap.map_or(-1, |s| (s * 1e3).round() as i64)).collect();
    assert_eq!(gaps, [-1, 0, 100, 0, 100, 0, 100, 0, 100, 0]);
    // Read 6 brings [DONE] alone.
    assert_eq!(run.ear().reads, [3, 3, 3, 3, 3, 1]);
    assert_eq!((run.only().events, run.only().chunks, run.only().reads), (16, 10, 6));
    let burst = run.only().head_burst_ratio.unwrap();
    assert!((burst - 0.4).abs() < 1e-9, "{burst}");
}

#[test]
fn stalls_are_judged_against_the_median() {
    let stalls = |gaps: &[u64]| {
        let mut script = FakeTlsConn::new(10, 1);
        script.write(chat()).read(HEAD).read(delta("x"));
        for &ms in gaps {
            script.wait_ms(ms).read(delta("x"));
        }
        script.read([DONE, LAST].concat()).close();
        let run = run(script.records());
        assert_eq!(run.only().stalls.len(), run.ear().stalls.len());
        run.ear().stalls.iter().map(|s| (s * 10.0).round() as u64).collect::<Vec<_>>()
    };
    assert_eq!(stalls(&[20, 2500, 20]), [25]);
    assert_eq!(stalls(&[600, 600, 600]), [0; 0]);
    assert_eq!(stalls(&[20; 30]), [0; 0]);
    assert_eq!(stalls(&[20, 20, 20, 20, 20, 20, 20, 20, 20, 700, 20, 900]), [7, 9]);
    assert_eq!(stalls(&[100, 100, 100, 100, 100, 100, 100, 100, 100, 700, 900]), [9]);
}
