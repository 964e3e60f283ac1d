//! What is said on a connection: requests, and what their answers must be.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::ops::Range;

#[derive(Debug)]
pub(super) enum Dialogue {
    Echo {
        /// What messages are cut from.
        text: Vec<u8>,
        message: usize,
    },
    Http {
        request: &'static str,
        answer: Vec<u8>,
        /// Where the answer may differ: the date.
        free: Range<usize>,
    },
}

const TEXT: usize = 64 * 1024;

impl Dialogue {
    pub(super) fn echo(message: usize) -> Dialogue {
        let mut random = fastrand::Rng::with_seed(7);
        Dialogue::Echo {
            text: std::iter::repeat_with(|| random.u8(..))
                .take(TEXT + message)
                .collect(),
            message,
        }
    }

    /// Asks once, and learns the answer, whose body must be `body`.
    pub(super) fn http(
        stream: &mut TcpStream,
        request: &'static str,
        body: &str,
    ) -> io::Result<Dialogue> {
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        let end = format!("\r\n\r\n{body}");
        while !answer.ends_with(end.as_bytes()) {
            let mut byte = [0];
            if stream.read(&mut byte)? == 0 {
                let answer = String::from_utf8_lossy(&answer);
                return Err(io::Error::other(format!("a server answered {answer:?}")));
            }
            answer.extend(byte);
        }
        if !answer.starts_with(b"HTTP/1.1 200 OK\r\n") {
            return Err(io::Error::other("a server did not answer 200"));
        }
        let free = date(&answer).unwrap_or(0..0);
        Ok(Dialogue::Http {
            request,
            answer,
            free,
        })
    }

    /// Which request comes after `at`: another text each time, so that an echo of an earlier one is found out.
    pub(super) fn next(&self, at: usize) -> usize {
        (at + 4_099) % TEXT
    }

    pub(super) fn request(&self, at: usize) -> &[u8] {
        match self {
            Dialogue::Echo { text, message } => &text[at..][..*message],
            Dialogue::Http { request, .. } => request.as_bytes(),
        }
    }

    pub(super) fn answer_length(&self) -> usize {
        match self {
            Dialogue::Echo { message, .. } => *message,
            Dialogue::Http { answer, .. } => answer.len(),
        }
    }

    /// Whether `bytes` are what the answer to request `at` has from `place` on.
    pub(super) fn agrees(&self, at: usize, place: usize, bytes: &[u8]) -> bool {
        match self {
            Dialogue::Echo { text, .. } => text[at + place..][..bytes.len()] == *bytes,
            Dialogue::Http { answer, free, .. } => {
                let end = place + bytes.len();
                let [before, after] = [
                    place..free.start.clamp(place, end),
                    free.end.clamp(place, end)..end,
                ];
                [before, after]
                    .into_iter()
                    .all(|part| answer[part.clone()] == bytes[part.start - place..part.end - place])
            }
        }
    }
}

/// Where the value of the header `date` is.
fn date(answer: &[u8]) -> Option<Range<usize>> {
    const NAME: &[u8] = b"\r\ndate: ";
    let name = answer.windows(NAME.len()).position(|part| part == NAME)?;
    let start = name + NAME.len();
    let length = answer[start..].iter().position(|&byte| byte == b'\r')?;
    Some(start..start + length)
}

#[cfg(test)]
mod tests {
    use super::{Dialogue, date};

    #[test]
    fn an_answer_may_differ_in_its_date_and_nowhere_else() {
        let answer = b"HTTP/1.1 200 OK\r\ndate: today\r\n\r\nhello".to_vec();
        let dialogue = Dialogue::Http {
            request: "",
            free: date(&answer).unwrap(),
            answer: answer.clone(),
        };
        let later = b"HTTP/1.1 200 OK\r\ndate: later\r\n\r\nhello";
        let other = b"HTTP/1.1 200 OK\r\ndate: today\r\n\r\nhullo";
        for cut in 0..answer.len() {
            for (text, agrees) in [(&answer[..], true), (later, true), (other, false)] {
                let (head, tail) = text.split_at(cut);
                let both = dialogue.agrees(0, 0, head) && dialogue.agrees(0, cut, tail);
                assert_eq!(both, agrees, "cut at {cut}");
            }
        }
    }
}
