//! Whatever bytes arrive and however they are cut: no panic, no frame unaccounted for, no table left filled.

use std::time::Duration;

use polywire_size::cases;
use proptest::prelude::*;

use crate::toy::{Command, Login, Order, Setup, settle};

/// Messages that mean something, ones that nearly do, and noise.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let id = 0_u64..6;
    let name = prop::sample::select(vec![
        "echo",
        "late",
        "hang",
        "fail",
        "panic",
        "panic-later",
        "back",
        "working",
        "",
        "\u{fffd}",
    ]);
    let body = prop::sample::select(vec![
        "",
        " 1",
        " {\"a\":[1,2]}",
        " {",
        " \"\\ud800\"",
        " nul",
        "  ",
        " [[[[]]]]",
    ]);
    let message = prop_oneof![
        (id.clone(), name.clone(), body.clone()).prop_map(|(id, name, body)| format!("? {id} {name}{body}")),
        (id.clone(), name.clone()).prop_map(|(id, name)| format!("? {id}@{} {name}", id * 40)),
        (id.clone(), body.clone()).prop_map(|(id, body)| format!("! {id}{body}")),
        (id.clone(), name.clone()).prop_map(|(id, name)| format!("x {id} {name} no")),
        (id, body.clone()).prop_map(|(id, body)| format!("~ {id}{body}")),
        (name, body).prop_map(|(name, body)| format!(". {name}{body}")),
        prop::sample::select(vec![
            "~ *",
            "mode counted",
            "mode lines",
            "mode",
            "login ann s3cret",
            "login ann no",
            "welcome ann",
            "refused x",
            "beat",
            "all ? 1 echo 1 ; . e ; ! 9 ; zz",
            "bye",
            "",
        ])
        .prop_map(str::to_owned),
    ];
    prop_oneof![
        6 => message.clone().prop_map(|text| [text.as_bytes(), b"\n"].concat()),
        2 => message.prop_map(|text| {
            let length = u32::try_from(text.len()).unwrap();
            [&length.to_be_bytes()[..], text.as_bytes()].concat()
        }),
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => Just(vec![b'x'; 3_000]),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<u8>),
    Cut(Vec<u8>, usize),
    Call(&'static str),
    CallAndLeave,
    Notify,
    Switch,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => piece().prop_map(Step::Write),
        3 => (piece(), 0_usize..40).prop_map(|(bytes, at)| Step::Cut(bytes, at)),
        3 => prop::sample::select(vec!["a", "b", "two\nlines"]).prop_map(Step::Call),
        1 => Just(Step::CallAndLeave),
        2 => Just(Step::Notify),
        1 => Just(Step::Switch),
        2 => (0_u64..20_000).prop_map(Step::Wait),
    ]
}

async fn run(login: Login, order: Order, steps: Vec<Step>) {
    let mut setup = Setup::with_login(login);
    setup.session.order = order;
    setup.session.beat = Some(Duration::from_secs(7));
    setup.limits.max_in_flight = 3;
    setup.limits.max_pending = 2;
    setup.limits.max_queue_messages = 4;
    setup.limits.max_frame_bytes = 2_048;
    let mut rig = setup.start();
    let mut calls = Vec::new();
    for step in steps {
        use tokio::io::AsyncWriteExt;
        // A connection that has closed takes nothing more; that is no fault here.
        match step {
            Step::Write(bytes) => drop(rig.far.write_all(&bytes).await),
            Step::Cut(bytes, at) => {
                let (head, tail) = bytes.split_at(at.min(bytes.len()));
                drop(rig.far.write_all(head).await);
                settle().await;
                drop(rig.far.write_all(tail).await);
            }
            Step::Call(name) => calls.push(rig.call(name, "1")),
            Step::CallAndLeave => {
                let call = rig.call("gone", "1");
                settle().await;
                call.abort();
            }
            Step::Notify => {
                let event = polywire_core::Event::new(
                    polywire_core::Route::from_static("e"),
                    polywire_core::Body::Empty,
                );
                drop(rig.caller().try_notify(event));
            }
            Step::Switch => rig.link.command(Command::Switch),
            Step::Wait(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
        }
    }
    settle().await;
    rig.hang_up().await;
    for call in calls {
        tokio::time::timeout(Duration::from_secs(16), call).await.expect("every call ends").unwrap().ok();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..cases::<512>() })]

    #[test]
    fn any_bytes_in_any_pieces_leave_the_books_in_order(
        login in prop::sample::select(vec![Login::None, Login::Ask, Login::Offer(polywire_core::Credentials::guest())]),
        order in prop::sample::select(vec![Order::Free, Order::OneAtATime, Order::OnePerName]),
        steps in prop::collection::vec(step(), 0..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(run(login, order, steps));
    }
}
