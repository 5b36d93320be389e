//! Any cut, any loss, any records.

use proptest::prelude::*;

use super::*;
use capture::record::TlsData;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// However the bytes are cut into calls, the same calls come out; only what belongs to reads differs.
    #[test]
    fn cuts_change_nothing(cuts in proptest::collection::vec(1..200usize, 0..60), wait in 0..5u64) {
        let answer = [HEAD, &delta("Hello"), &delta(" 你好"), &delta(". "), &finish("stop"), DONE, LAST].concat();
        let mut script = FakeTlsConn::new(10, 1);
        for _ in 0..2 {
            let mut rest = chat().into_bytes();
            for cut in &cuts {
                script.write(rest.drain(..(*cut).min(rest.len())).collect::<Vec<u8>>());
            }
            script.write(rest);
            let mut rest = answer.clone().into_bytes();
            for cut in &cuts {
                script.wait_ms(wait).read(rest.drain(..(*cut).min(rest.len())).collect::<Vec<u8>>());
            }
            script.read(rest);
        }
        let run = run(script.close().records());
        prop_assert_eq!(run.outcomes(), ["complete"; 2]);
        for entry in run.pipeline.call_table().ended() {
            prop_assert_eq!((entry.events, entry.chunks, entry.visible_chars), (5, 3, 10));
            prop_assert_eq!(entry.request.as_ref().unwrap().model.as_deref(), Some("gpt-x"));
            prop_assert!(entry.firsts.byte <= entry.firsts.visible && entry.firsts.visible <= entry.firsts.sentence);
        }
    }

    /// Whatever is lost, nothing panics, nothing is counted that did not come, and other connections are untouched.
    #[test]
    fn losses_never_add(keep in proptest::collection::vec(any::<bool>(), 30), tail in 0..200u64) {
        let mut hurt = FakeTlsConn::new(10, 1);
        hurt.write(chat()).read(HEAD);
        for &keep in &keep {
            let event = delta("word");
            if keep { hurt.wait_ms(20).read(event) } else { hurt.wait_ms(20).lose(Direction::Read, event.len() as u64) };
        }
        hurt.read([DONE, LAST].concat()).lose(Direction::Read, tail).close();
        let mut well = FakeTlsConn::new(11, 1);
        well.write(chat()).read(HEAD).read_each(20, vec![delta("word"); 30]).read([DONE, LAST].concat()).close();
        let run = run(&FakeTlsConn::merge(&[hurt, well]));
        let by = |pid| run.pipeline.call_table().ended().find(|entry| entry.identity.pid == pid).unwrap();
        prop_assert_eq!((by(11).chunks, by(11).outcome, by(11).notes.len()), (30, Some(CallOutcome::Complete), 0));
        prop_assert!(by(10).chunks <= keep.iter().filter(|&&k| k).count() as u64);
        prop_assert!(by(10).outcome.is_some());
        if keep.iter().all(|&k| k) && tail == 0 {
            prop_assert_eq!(by(10).chunks, 30);
        }
        prop_assert_eq!(run.pipeline.held(), 0);
    }

    /// Records of any kind in any order, as a damaged recording may hold.
    #[test]
    fn any_records_do_no_harm(ops in proptest::collection::vec((0..10u8, 0..3u64, any::<u32>(), any::<bool>(), 0..5usize), 0..80)) {
        let texts = [chat(), HEAD.into(), delta("x"), [DONE, LAST].concat(), get("/x")];
        let mut pipeline = Pipeline::new(PipelineSettings { conns: 2, ..PipelineSettings::default() }, Ear::default());
        for (kind, handle, number, flag, text) in ops {
            let conn = ConnKey { handle, start_ns: u64::from(number % 2), tgid: number % 3, generation: number % 2 };
            let at = Ns(u64::from(number) << (number % 30));
            let data = TlsData {
                conn, direction: if flag { Direction::Read } else { Direction::Write }, at, entered: at,
                pos: u64::from(number % 3) * 40, call_len: number, offset: number % 5, born: flag,
                lost: (number % 5 == 0).then_some(LossCause::Truncated), bytes: texts[text].as_bytes(),
            };
            pipeline.record(&match kind {
                0 => Record::Process { tgid: conn.tgid, start_ns: conn.start_ns, identity: Default::default() },
                1 => Record::Open { conn, at },
                2 => Record::Shutdown { conn, at },
                3 => Record::ReadEnd { conn, at, clean: flag },
                4 => Record::Close { conn, at, read_pos: u64::from(number), write_pos: 0 },
                5 => Record::Exit { tgid: conn.tgid, at },
                6 => Record::Audited { conn, at, moved: flag.then_some([u64::from(number), u64::from(number % 100)]) },
                _ => Record::Data(data),
            });
            pipeline.tick(at);
            prop_assert!(pipeline.connection_count() <= 2);
        }
    }
}
