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
        default: fn() -> JsonValue,
        normalize: fn(JsonValue) -> Option<JsonValue>,
    },
    /// Fields in the order of declaration, and their names in the order of bytes.
    Struct {
        fields: Vec<(&'static str, TypeIx)>,
        by_name: Arc<BTreeMap<&'static str, u32>>,
    },
    List(TypeIx),
    Map(TypeIx),
    Counter,
}

/// The types that a document is made of. Types may refer to themselves through lists and maps.
#[derive(Clone, Debug, Default)]
pub struct TypeTable {
    defs: Vec<TypeDef>,
    known: BTreeMap<TypeId, TypeIx>,
}

impl TypeTable {
    /// Describes a register of `T`.
    pub fn register<T: RegisterValue>(&mut self) -> TypeIx {
        // `fn(T)` keeps a value type apart from a struct of the same name.
        self.intern(TypeId::of::<fn(T)>(), |_| TypeDef::Register {
            default: T::default_value,
            normalize: T::normalize,
        })
    }

    /// Describes `Owner` as a counter.
    pub fn counter<Owner: 'static>(&mut self) -> TypeIx {
        self.intern(TypeId::of::<Owner>(), |_| TypeDef::Counter)
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

    #[expect(clippy::indexing_slicing, reason = "a TypeIx comes from this table only")]
    pub(crate) fn def(&self, ix: TypeIx) -> &TypeDef {
        &self.defs[ix.0 as usize]
    }
}
