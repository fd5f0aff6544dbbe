//! What a document's Rust type says about its nodes, as data.
//!
//! The derive macro and the container types describe themselves into a [`TypeTable`]; the document's state
//! works on the table alone, so that it is compiled once and not per type.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::value::{JsonValue, RegisterValue};

/// A type's place in a [`TypeTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeIx(pub(crate) u32);

#[derive(Clone, Debug)]
pub(crate) enum TypeDef {
    Register {
        /// The type of its values, for telling types of documents apart.
        name: &'static str,
        default: fn() -> JsonValue,
        normalize: fn(JsonValue) -> Option<JsonValue>,
        /// It takes every string.
        takes_strings: bool,
    },
    /// Fields in the order of declaration, and their names in the order of bytes.
    Struct {
        fields: Vec<(&'static str, TypeIx)>,
        by_name: Arc<BTreeMap<&'static str, u32>>,
    },
    List(TypeIx),
    Map(TypeIx),
    Counter,
    Text,
    /// A JSON value whose kind its content decides. In a struct, and as the document, it is an object.
    Any {
        object: TypeIx,
        array: TypeIx,
        text: TypeIx,
        scalar: TypeIx,
    },
    /// Where a list's element was moved to: a place in the order, not a node of the document.
    Place,
}

/// The types that a document is made of. Types may refer to themselves through lists and maps.
#[derive(Clone, Debug)]
pub struct TypeTable {
    defs: Vec<TypeDef>,
    known: BTreeMap<TypeId, TypeIx>,
    has_text: bool,
}

impl TypeIx {
    /// [`TypeDef::Place`] in every table.
    pub(crate) const PLACE: Self = Self(0);
}

impl Default for TypeTable {
    fn default() -> Self {
        Self { defs: vec![TypeDef::Place], known: BTreeMap::new(), has_text: false }
    }
}

impl TypeTable {
    /// Describes a register of `T`.
    pub fn register<T: RegisterValue>(&mut self) -> TypeIx {
        // `fn(T)` keeps a value type apart from a struct of the same name.
        self.intern(TypeId::of::<fn(T)>(), |_| TypeDef::Register {
            name: std::any::type_name::<T>(),
            default: T::default_value,
            normalize: T::normalize,
            takes_strings: T::TAKES_STRINGS,
        })
    }

    /// Describes `Owner` as a counter.
    pub fn counter<Owner: 'static>(&mut self) -> TypeIx {
        self.intern(TypeId::of::<Owner>(), |_| TypeDef::Counter)
    }

    /// Describes a text.
    pub fn text(&mut self) -> TypeIx {
        self.has_text = true;
        self.intern(TypeId::of::<TypeDef>(), |_| TypeDef::Text)
    }

    /// Describes a JSON value of any kind.
    pub fn any(&mut self) -> TypeIx {
        // Types that only this module can name keep the kinds apart from a program's own containers.
        enum Any {}
        enum Object {}
        enum Array {}
        enum Scalar {}
        self.intern(TypeId::of::<Any>(), |types| TypeDef::Any {
            object: types.map::<Object>(Self::any),
            array: types.list::<Array>(Self::any),
            text: types.text(),
            scalar: types.intern(TypeId::of::<Scalar>(), |_| TypeDef::Register {
                name: "any scalar",
                default: || JsonValue::Null,
                normalize: |value| (!value.is_container()).then_some(value),
                takes_strings: true,
            }),
        })
    }

    /// Describes `Owner` as a list whose elements are described by `element`.
    pub fn list<Owner: 'static>(&mut self, element: impl FnOnce(&mut Self) -> TypeIx) -> TypeIx {
        self.intern(TypeId::of::<Owner>(), |types| TypeDef::List(element(types)))
    }

    /// Describes `Owner` as a map whose values are described by `value`.
    pub fn map<Owner: 'static>(&mut self, value: impl FnOnce(&mut Self) -> TypeIx) -> TypeIx {
        self.intern(TypeId::of::<Owner>(), |types| TypeDef::Map(value(types)))
    }

    /// Describes `Owner` as a struct with the fields that `fields` lists.
    pub fn object<Owner: 'static>(
        &mut self,
        fields: impl FnOnce(&mut Self) -> Vec<(&'static str, TypeIx)>,
    ) -> TypeIx {
        self.intern(TypeId::of::<Owner>(), |types| {
            let fields = fields(types);
            let by_name: BTreeMap<_, _> =
                fields.iter().zip(0..).map(|((name, _), index)| (*name, index)).collect();
            TypeDef::Struct { fields, by_name: Arc::new(by_name) }
        })
    }

    fn intern(&mut self, id: TypeId, define: impl FnOnce(&mut Self) -> TypeDef) -> TypeIx {
        if let Some(ix) = self.known.get(&id) {
            return *ix;
        }
        // The place is taken first, so that a type which contains itself finds it.
        let ix = TypeIx(self.defs.len() as u32);
        self.known.insert(id, ix);
        self.defs.push(TypeDef::Struct { fields: Vec::new(), by_name: Arc::default() });
        let def = define(self);
        if let Some(place) = self.defs.get_mut(ix.0 as usize) {
            *place = def;
        }
        ix
    }

    /// How many types there are.
    pub(crate) fn len(&self) -> usize {
        self.defs.len()
    }

    /// All that the table says, as text: two documents with the same text are of the same type.
    pub(crate) fn description(&self) -> String {
        let mut text = String::new();
        for def in &self.defs {
            let line = match def {
                TypeDef::Register { name, .. } => format!("register {name}"),
                TypeDef::Struct { fields, .. } => format!("struct {fields:?}"),
                TypeDef::List(_)
                | TypeDef::Map(_)
                | TypeDef::Counter
                | TypeDef::Text
                | TypeDef::Any { .. }
                | TypeDef::Place => format!("{def:?}"),
            };
            text.push_str(&line);
            text.push('\n');
        }
        text
    }

    /// The type that a node of type `ty` gets for content whose encoding begins with `tag`.
    pub(crate) fn concrete(&self, ty: TypeIx, tag: Option<u8>) -> TypeIx {
        match (self.def(ty), tag) {
            (TypeDef::Any { object, .. }, None | Some(8)) => *object,
            (TypeDef::Any { array, .. }, Some(7)) => *array,
            (TypeDef::Any { text, .. }, Some(9)) => *text,
            (TypeDef::Any { scalar, .. }, Some(_)) => *scalar,
            _ => ty,
        }
    }

    /// Whether a node of type `ty` may be of type `concrete` for some content.
    pub(crate) fn can_become(&self, ty: TypeIx, concrete: TypeIx) -> bool {
        [0, 7, 8, 9].into_iter().any(|tag| self.concrete(ty, Some(tag)) == concrete)
    }

    /// Turns the strings of a literal that stand where the type has a text into the beginning of one.
    pub(crate) fn with_texts(&self, ty: TypeIx, value: JsonValue) -> JsonValue {
        if !self.has_text {
            return value;
        }
        match (self.def(ty), value) {
            (TypeDef::Text, JsonValue::String(s)) => JsonValue::Text(s),
            (TypeDef::Struct { fields, by_name }, JsonValue::Object(members)) => {
                let members = members.into_iter().map(|(key, value)| {
                    let field = by_name.get(key.as_str()).and_then(|slot| fields.get(*slot as usize));
                    let value = match field {
                        Some((_, ty)) => self.with_texts(*ty, value),
                        None => value,
                    };
                    (key, value)
                });
                JsonValue::Object(members.collect())
            }
            (TypeDef::List(ty), JsonValue::Array(items)) => {
                JsonValue::Array(items.into_iter().map(|item| self.with_texts(*ty, item)).collect())
            }
            (TypeDef::Map(ty), JsonValue::Object(members)) => JsonValue::Object(
                members.into_iter().map(|(key, value)| (key, self.with_texts(*ty, value))).collect(),
            ),
            (_, value) => value,
        }
    }

    #[expect(clippy::indexing_slicing, reason = "a TypeIx comes from this table only")]
    pub(crate) fn def(&self, ix: TypeIx) -> &TypeDef {
        &self.defs[ix.0 as usize]
    }
}
