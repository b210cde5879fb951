//! The key names of a configuration, read from its `Deserialize` implementation, and keys that nothing reads.
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::{Serialize, forward_to_deserialize_any};

use crate::{DistillError, MethodConfig};

/// Refuses the keys among `keys` that were changed from their default although nothing reads them; `owner` is the setting
/// that would.
pub(crate) fn refuse_unread<C: MethodConfig>(config: &C, keys: &[&str], owner: &str) -> Result<(), DistillError> {
    match unread(config, &C::default(), keys, owner) {
        Some(reason) => Err(config.bad(reason)),
        None => Ok(()),
    }
}

/// What to say of the first of `keys` that has another value than in `default`, although only `owner` would read it.
pub(crate) fn unread<C: Serialize>(config: &C, default: &C, keys: &[&str], owner: &str) -> Option<String> {
    let table = |config: &C| toml::Table::try_from(config).unwrap_or_default();
    let (given, default) = (table(config), table(default));
    let key = keys.iter().find(|key| given.get(**key) != default.get(**key))?;
    let value = given.get(*key).map(|value| format!(" = {value}")).unwrap_or_default();
    Some(format!("`{key}{value}` has no effect here: it belongs to {owner}; leave it out"))
}

/// The field names that `T`'s derived `Deserialize` announces; empty if `T` is not a struct.
///
/// serde hands the list to `deserialize_struct`, so a deserializer that notes it and stops is enough.
pub(crate) fn field_names<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // The probe always ends in an error; only the noted names matter.
    let _ = T::deserialize(Probe(&mut names));
    names
}

struct Probe<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = serde::de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(Error::custom("only structs have field names"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = fields;
        Err(Error::custom("probe"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_come_from_the_struct() {
        #[derive(serde::Deserialize)]
        #[allow(dead_code, reason = "only the names are read")]
        struct Two {
            first: f64,
            #[serde(rename = "second-key")]
            second: Option<usize>,
        }
        assert_eq!(super::field_names::<Two>(), ["first", "second-key"]);
        assert!(super::field_names::<f64>().is_empty());
    }
}
