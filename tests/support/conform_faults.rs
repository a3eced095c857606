//! The sample of `polywire conform` with one thing broken at a time.

/// One thing that the sample does otherwise: the text of it, good and bad, the cases that fail, one that holds beside them, and what
/// is said.
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    pub(crate) good: &'static str,
    pub(crate) bad: &'static str,
    pub(crate) mode: &'static str,
    pub(crate) fails: &'static [&'static str],
    pub(crate) holds: &'static str,
    pub(crate) words: &'static str,
}

/// The faults.
pub(crate) const FAULTS: [Fault; 8] = [
    Fault {
        name: "values",
        good: "return data\n        body = json.loads(data)",
        bad: "return json.dumps(json.loads(data), separators=(',', ':'), sort_keys=True)\n        body = json.loads(data)",
        mode: "server",
        fails: &["body.numbers", "body.key_order", "body.escapes"],
        holds: "body.bare",
        words: "expected the answer",
    },
    Fault {
        name: "mixed",
        good: "    async def answer(self, route, data, number):\n",
        bad: "    async def answer(self, route, data, number):\n        self.last = number; await asyncio.sleep(0.01); number = self.last\n",
        mode: "client",
        fails: &["back.many"],
        holds: "back.answer",
        words: "expected the answer",
    },
    Fault {
        name: "twice",
        good: "            self.hear(kind, data)",
        bad: "            self.hear(kind, data)\n            self.hear(kind, data)",
        mode: "client",
        fails: &["event.from_server"],
        holds: "event.from_client",
        words: "expected `tick` {\"n\":2}; got `tick` {\"n\":1}",
    },
    Fault {
        name: "late",
        good: "ask[\"timeout_ms\"] / 1000)}",
        bad: "ask[\"timeout_ms\"] / 1000 + 3)}",
        mode: "client",
        fails: &["deadline.passes"],
        holds: "call.answer",
        words: "expected unknown; got the answer",
    },
    Fault {
        name: "certain",
        good: "{\"outcome\": \"unknown\", \"message\"",
        bad: "{\"outcome\": \"not_sent\", \"message\"",
        mode: "client",
        fails: &["cut.in_mid_call", "deadline.passes"],
        holds: "call.failure",
        words: "expected unknown; got not_sent",
    },
    Fault {
        name: "rude",
        good: "        await asyncio.gather(*serving, *self.calls.values())\n",
        bad: "",
        mode: "server",
        fails: &["close.by_server"],
        holds: "call.answer",
        words: "expected the answer",
    },
    Fault {
        name: "fragile",
        good: "                except (ValueError, RecursionError):\n                    pass",
        bad: "                except (ValueError, RecursionError):\n                    os._exit(3)",
        mode: "server",
        fails: &["hostile.http", "hostile.broken_json"],
        holds: "hostile.silent",
        words: "expected the answer",
    },
    Fault {
        name: "stubborn",
        good: "                break\n",
        bad: "                await asyncio.sleep(60)\n",
        mode: "server",
        fails: &["program.ends"],
        holds: "call.answer",
        words: "it still ran 3s after it was told to end, and was killed",
    },
];
