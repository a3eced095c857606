//! How deep a file nests, before the parser sees it.
//!
//! The parser of TOML bounds its depth by what is open, and takes a bracket that closes nothing for one that closes something:
//! after a broken line, repeated often enough, it runs out of stack. Found by the fuzz target `config`.

use std::ops::Range;

use toml_parser::Source;
use toml_parser::lexer::TokenKind;

/// Most brackets of one kind that may be open at a time; a bridge file needs two.
pub(crate) const MAX_NESTING: usize = 64;

/// Where more brackets of one kind are open than may be.
pub(crate) fn too_deep(text: &str) -> Option<Range<usize>> {
    let (mut curly, mut square) = (0_usize, 0_usize);
    for token in Source::new(text).lex() {
        match token.kind() {
            TokenKind::LeftCurlyBracket => curly += 1,
            TokenKind::RightCurlyBracket => curly = curly.saturating_sub(1),
            TokenKind::LeftSquareBracket => square += 1,
            TokenKind::RightSquareBracket => square = square.saturating_sub(1),
            _ => {}
        }
        if curly.max(square) > MAX_NESTING {
            return Some(token.span().start()..token.span().end());
        }
    }
    None
}
