//! Text as XML and HTML can bear it.

/// Escapes `text` for an element or an attribute in double quotes. What XML forbids altogether becomes U+FFFD.
pub(crate) fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' => out.push(c),
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::xml;

    #[test]
    fn markup_and_control_characters_are_harmless() {
        assert_eq!(
            xml("a<b> & \"c\"\n\u{1b}[0m"),
            "a&lt;b&gt; &amp; &quot;c&quot;\n\u{fffd}[0m"
        );
    }
}
