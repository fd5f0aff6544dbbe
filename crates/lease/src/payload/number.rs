//! Numbers in their one form.

use super::{PayloadError, parse::cut};

/// From here on a double does not have every whole number.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// Writes a number; `text` follows the grammar of JSON.
pub(super) fn write(text: &str, at: usize, out: &mut Vec<u8>) -> Result<(), PayloadError> {
    if !text.contains(['.', 'e', 'E']) {
        let integer = text.parse::<i128>().ok();
        let fits = |n: &i128| (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(n);
        let Some(integer) = integer.filter(fits) else {
            return Err(PayloadError::IntegerTooLarge { at, text: cut(text) });
        };
        out.extend_from_slice(integer.to_string().as_bytes());
        return Ok(());
    }
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
    let Some(number) = number else {
        return Err(PayloadError::NumberOutOfRange { at, text: cut(text) });
    };
    let size = number.abs();
    let form = if number == 0.0 {
        "0".to_owned()
    } else if (1e-6..WHOLE_MAX).contains(&size) {
        number.to_string()
    } else {
        format!("{number:e}")
    };
    out.extend_from_slice(form.as_bytes());
    Ok(())
}
