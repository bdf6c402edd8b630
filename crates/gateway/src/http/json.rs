//! JSON, read strictly: what is wrong is named with its place, and nothing is guessed.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{
    DeserializeOwned, Deserializer, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor,
};
use serde::{Deserialize, de};
use serde_path_to_error::{Path, Segment};
use wire::convert::Refusal;

/// Reads a whole document; nothing at all is read as `{}`, so that what is missing is named like any other field.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    let mut json = serde_json::Deserializer::from_slice(match bytes {
        [] => b"{}",
        some => some,
    });
    let Object(read) = serde_path_to_error::deserialize(&mut json)
        .map_err(|why| wrong(why.path(), &why.inner().to_string()))?;
    json.end().map_err(|why| Refusal::field("", why.to_string()))?;
    Ok(read)
}

fn wrong(path: &Path, said: &str) -> Refusal {
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => push(&mut pointer, &index.to_string()),
            Segment::Map { key } => push(&mut pointer, key),
            Segment::Enum { variant } => push(&mut pointer, variant),
            Segment::Unknown => {}
        }
    }
    // These are noticed by the object around the field, and serde names the field only in what it says.
    let named = ["unknown field `", "missing field `", "duplicate field `"]
        .into_iter()
        .find_map(|kind| said.strip_prefix(kind)?.split('`').next());
    if let Some(named) = named {
        push(&mut pointer, named);
    }
    Refusal::field(pointer, said.to_owned())
}

fn push(pointer: &mut String, segment: &str) {
    pointer.push('/');
    pointer.push_str(&segment.replace('~', "~0").replace('/', "~1"));
}

/// An object, and nothing but an object: what serde derives reads a list as well, field by field without their names.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(ObjectVisitor(PhantomData)).map(Self)
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(fields))
    }
}

/// Reads an object where it may be absent.
pub(super) fn object<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::<Object<T>>::deserialize(from)?.map(|Object(read)| read))
}

/// A list of objects, of which no more than one past `MAX` are kept: a long list of small things would take far more memory than
/// its text. Whoever reads it sees by `count` that there were too many.
#[derive(Debug)]
pub(super) struct Bounded<T, const MAX: usize> {
    /// The first ones.
    pub(super) kept: Vec<T>,
    /// How many there were.
    pub(super) count: usize,
}

impl<T, const MAX: usize> Default for Bounded<T, MAX> {
    fn default() -> Self {
        Self { kept: Vec::new(), count: 0 }
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Bounded<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(ListVisitor(PhantomData))
    }
}

struct ListVisitor<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for ListVisitor<T, MAX> {
    type Value = Bounded<T, MAX>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "a list of at most {MAX}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut read = Bounded::default();
        while read.kept.len() <= MAX {
            let Some(Object(next)) = list.next_element()? else {
                read.count = read.kept.len();
                return Ok(read);
            };
            read.kept.push(next);
        }
        read.count = read.kept.len();
        while list.next_element::<IgnoredAny>()?.is_some() {
            read.count = read.count.saturating_add(1);
        }
        Ok(read)
    }
}

/// Reads a whole number of minor units: `1.0` is refused like `1.5`, because whoever writes it counts something else.
pub(super) fn minor<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    from.deserialize_i64(MinorVisitor)
}

/// The same where it may be absent.
pub(super) fn optional_minor<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    #[derive(Deserialize)]
    struct Minor(#[serde(deserialize_with = "minor")] i64);
    Ok(Option::<Minor>::deserialize(from)?.map(|Minor(units)| units))
}

struct MinorVisitor;

impl Visitor<'_> for MinorVisitor {
    type Value = i64;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a whole number of minor units, written as an integer")
    }

    fn visit_i64<E: de::Error>(self, units: i64) -> Result<i64, E> {
        Ok(units)
    }

    fn visit_u64<E: de::Error>(self, units: u64) -> Result<i64, E> {
        i64::try_from(units).map_err(|_| E::invalid_value(Unexpected::Unsigned(units), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Order {
        #[serde(deserialize_with = "minor")]
        units: i64,
        #[serde(deserialize_with = "optional_minor")]
        tip: Option<i64>,
        lines: Bounded<Order, 2>,
    }

    fn check(json: &str, pointer: &str, said: &str) {
        let refusal = read::<Order>(json.as_bytes()).unwrap_err();
        let [violation] = &refusal.violations()[..] else { panic!("{refusal}") };
        assert_eq!(violation.field, pointer, "{json}");
        assert!(violation.description.contains(said), "{json}: {}", violation.description);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        check(r#"{"units":1.0}"#, "/units", "floating point `1.0`, expected a whole number");
        check(r#"{"units":1e3}"#, "/units", "expected a whole number of minor units");
        check(r#"{"units":"1"}"#, "/units", "string \"1\", expected a whole number");
        check(r#"{"units":null}"#, "/units", "expected a whole number");
        check(r#"{"units":9223372036854775808}"#, "/units", "expected a whole number");
        check(r#"{"tip":0.5}"#, "/tip", "expected a whole number");
        check(r#"{"unit":1}"#, "/unit", "unknown field `unit`, expected one of `units`");
        check(r#"{"a/b~c":1}"#, "/a~1b~0c", "unknown field");
        check(r#"{"units":1,"units":2}"#, "/units", "duplicate field");
        check(r#"{"lines":[{"lines":[],"lines":[]}]}"#, "/lines/0/lines", "duplicate field");
        check(r#"{"lines":[{},{"units":true}]}"#, "/lines/1/units", "boolean `true`");
        check(r#"{"lines":[{},{"unit":1}]}"#, "/lines/1/unit", "unknown field");
        check(r#"{"lines":{}}"#, "/lines", "expected a list of at most 2");
        check(r#"{"lines":[[]]}"#, "/lines/0", "invalid type: sequence, expected an object");
        check(r#"[1,2,[]]"#, "", "invalid type: sequence, expected an object");
        check("[1", "", "");
        check(r#"{"units":1} 2"#, "", "trailing characters");
        check("nonsense", "", "expected");
    }

    #[test]
    fn what_is_right_is_read_and_no_list_grows_without_bound() {
        let order: Order = read(b"").unwrap();
        assert_eq!((order.units, order.tip, order.lines.count), (0, None, 0));
        let order: Order = read(br#"{"units":-1,"tip":null,"lines":[{},{"tip":7}]}"#).unwrap();
        assert_eq!((order.units, order.tip), (-1, None));
        assert_eq!((order.lines.count, order.lines.kept[1].tip), (2, Some(7)));
        let order: Order = read(br#"{"lines":[{},{},{},{},{}]}"#).unwrap();
        assert_eq!((order.lines.count, order.lines.kept.len()), (5, 3));
    }
}
