//! Public ids of connections: for logs, the API and the clients themselves. Random, so that all instances have different ones.

/// An id is this text and the number in 16 hexadecimal digits: ids are in the order of their numbers.
const BEGIN: &str = "c-";
const DIGITS: usize = 16;

pub fn connection_id(number: u64) -> String {
    format!("{BEGIN}{number:016x}")
}

/// `None`: it cannot be one.
pub fn connection_number(id: &str) -> Option<u64> {
    let digits = id.strip_prefix(BEGIN)?;
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if digits.len() != DIGITS || !digits.bytes().all(is_digit) {
        return None;
    }
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written_and_have_the_order_of_their_numbers() {
        let numbers = [0, 1, 15, 16, 0x9fff, 0xa000, 1 << 63, u64::MAX];
        for pair in numbers.windows(2) {
            assert!(connection_id(pair[0]) < connection_id(pair[1]));
        }
        for number in numbers {
            assert_eq!(connection_number(&connection_id(number)), Some(number));
        }
        for wrong in [
            "",
            "c-",
            "c-1",
            "c-000000000000000A",
            "c-+00000000000000f",
            "d-0000000000000001",
            "c-00000000000000001",
        ] {
            assert_eq!(connection_number(wrong), None, "{wrong}");
        }
    }
}
