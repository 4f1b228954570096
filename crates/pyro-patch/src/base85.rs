//! The base 85 of git's binary patches: lines of a letter for the number of bytes, and five digits
//! for each four of them.

/// By value.
const DIGITS: &[u8; 85] =
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~";

/// Bytes on a line, as git writes them.
const LINE: usize = 52;

/// Adds bytes as lines.
pub(crate) fn encode(bytes: &[u8], to: &mut Vec<u8>) {
    for line in bytes.chunks(LINE) {
        // A to Z are 1 to 26, a to z go on.
        to.push(match line.len() {
            count @ 1..=26 => b'A' - 1 + count as u8,
            count => b'a' - 27 + count as u8,
        });
        for four in line.chunks(4) {
            let mut bytes = [0; 4];
            bytes[..four.len()].copy_from_slice(four);
            let mut value = u32::from_be_bytes(bytes);
            let mut digits = [0; 5];
            for digit in digits.iter_mut().rev() {
                *digit = DIGITS[(value % 85) as usize];
                value /= 85;
            }
            to.extend_from_slice(&digits);
        }
        to.push(b'\n');
    }
}

/// Adds what a line holds. `None`: it is no such line, or was cut.
pub(crate) fn decode_line(line: &[u8], to: &mut Vec<u8>) -> Option<()> {
    let (length, digits) = line.split_first()?;
    let length = match length {
        b'A'..=b'Z' => length - b'A' + 1,
        b'a'..=b'z' => length - b'a' + 27,
        _ => return None,
    };
    let mut left = usize::from(length);
    if digits.len() != left.div_ceil(4) * 5 {
        return None;
    }
    for five in digits.chunks_exact(5) {
        let value = five.iter().try_fold(0_u32, |value, letter| {
            let digit = DIGITS.iter().position(|known| known == letter)?;
            value.checked_mul(85)?.checked_add(digit as u32)
        })?;
        let four = value.to_be_bytes();
        to.extend_from_slice(&four[..left.min(4)]);
        left -= left.min(4);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_encoded_is_decoded() {
        let bytes: Vec<u8> = (0..=255).cycle().take(1_000).collect();
        for count in (0..120).chain([1_000]) {
            let mut text = Vec::new();
            encode(&bytes[..count], &mut text);
            let mut back = Vec::new();
            for line in text.split_inclusive(|byte| *byte == b'\n') {
                decode_line(line.strip_suffix(b"\n").unwrap(), &mut back).unwrap();
            }
            assert_eq!(back, bytes[..count]);
        }
    }
}
