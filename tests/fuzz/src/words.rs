//! Pieces of the wires that chance would not find.

/// JSON, odd and plain.
pub const JSON: &[&[u8]] = &[
    b"{", b"}", b"[", b"]", b",", b":", b"\"", b"\\", b"{}", b"[]", b"null", b"true", b"false", b"-0", b"0",
    b"1e400", b"-1.5e-7", b"9007199254740993", b"0.1", b"1E+9", b"\"\"", b"\"a\"", b"{\"a\":1}", b"[[[[[[[[",
    b"]]]]]]]]", b"\\ud800", b"\\udc00", b"\\u0000", b"\\u003c", b"\\n", b"\\\"", b"\\\\", b" ", b"\t", b"\r\n",
    b"\xef\xbb\xbf", b"\xff", b"\xc3\xa9", b"\xed\xa0\x80", b"NaN", b"Infinity", b"-Infinity", b"__proto__",
    b"{\"\":[{\"\":[", b"]}]}", b"\0",
];

/// Sockhop lines and frames.
pub const SOCKHOP: &[&[u8]] = &[
    b"\n", b"\r\n", b"\0", b"END\n", b"{\"type\":\"", b"\",\"data\":", b"\",\"data\":{}}\n", b",\"id\":\"",
    b",\"callback_id\":\"", b"\"}\n", b"}\n", b"null\n", b"[]\n", b"{}\n", b"1\n", b"\"x\"\n",
    b"{\"type\":\"Object\",\"data\":{\"a\":1},\"id\":\"abc\"}\n",
    b"{\"type\":\"String\",\"data\":\"hello\",\"callback_id\":\"abc\"}\n",
    b"{\"type\":\"Buffer\",\"data\":\"AQID\"}\n",
    b"{\"type\":\"Buffer\",\"data\":{\"type\":\"Buffer\",\"data\":[1,2,3]}}\n",
    b"{\"type\":\"SockhopHandshake\",\"data\":{\"protocol_version\":2,\"request_binary_mode\":true},\"id\":\"h\"}\n",
    b"{\"type\":\"SockhopHandshake\",\"data\":null,\"id\":\"h\"}\n",
    b"{\"type\":\"SockhopBinaryModeTransition\",\"data\":{}}\n",
    b"{\"type\":\"SockhopPing\",\"data\":{\"_id\":\"p\",\"_created\":\"x\",\"_returned\":null,\"_finished\":null}}\n",
    b"{\"type\":\"SockhopPing\",\"data\":{\"_id\":\"polywire-fence/p\"}}\n",
    b"{\"type\":\"SockhopPong\",\"data\":{\"_id\":\"p\"}}\n",
    b"{\"type\":\"SockhopRequest\",\"data\":{\"uuid\":\"u\",\"type\":\"String\",\"data\":\"x\"}}\n",
    b"{\"type\":\"SockhopResponsePacket\",\"data\":{\"uuid\":\"u\",\"type\":\"String\",\"data\":\"x\",\"last\":true}}\n",
    b"SockhopHandshake", b"SockhopPing", b"SockhopPong", b"SockhopRequest", b"SockhopResponsePacket",
    b"SockhopBinaryModeTransition", b"Error", b"Object", b"Buffer", b"allow_binary_mode", b"request_binary_mode",
    b"{\"allow_binary_mode\":true}", b"\"id\":{\"a\":\n1}", b"\"id\":7", b"\"id\":\"\\u0061\"", b"__proto__",
    b"\x09\0\0\0\x0a\x01T\x03\0\0\0123", b"\x0a\0\0\0\x0d\x01T\x03\0\0\0abcd",
    b"\x2a\0\0\0\x0b\x01T\0\0\0\0000000000000000000000000000000000000", b"\0\0\0\0\x0a", b"\0\0\0\0\0",
    b"\xff\xff\xff\xff\x0a", b"\xff\xff\xff\x7f\x0f", b"\x05\0\0\0\x0e\0\0\0\0\0", b"GET / HTTP/1.1\r\n",
    b"SSH-2.0-", b"\x16\x03\x01", b"\x1f\x8b\x08", b"\xff", b"\xed\xa0\x80",
];

/// HPX frames and their JSON.
pub const HPX: &[&[u8]] = &[
    b"<EOF>", b"<EO", b"F>", b"\x1f\x8b\x08\0\0\0\0\0\0\xff", b"\x1f\x8b\x08\x08", b"\x1f\x8b", b"\x01\0\0\xff\xff",
    b"\x03\0", b"\0\0\0\0\0\0\0\0", b"\0\0\0\xff\xff", b"{\"session\":\"\",\"name\":\"x\",\"data\":{}}",
    b"{\"session\":\"\",\"name\":\"x\",\"data\":{\"user\":\"u\",\"password\":\"p\"}}",
    b"{\"session\":\"\",\"name\":\"x\",\"data\":[{\"fname\":\"f\",\"a\":1}]}", b"\"__id__\":\"1\",", b"\"error\":",
    b"{\"fname\":\"f\",\"data\":1}", b"{\"code\":408,\"msg\":\"x\"}", b"\"Authenticated\"", b"{\"msg\":\"wait\"}",
    b"\"serverquit\"", b"\"requestauth\"", b"1", b"2", b"3", b"NaN", b"-Infinity", b"null", b"\\ud800", b"\"fn\\u0061me\"",
    b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", b"SSH-2.0", b"{\"type\":\"x\"", b"\x82\xa4",
];
