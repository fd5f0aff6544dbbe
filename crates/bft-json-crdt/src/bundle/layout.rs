//! The columns of a chunk: their ids, and what their numbers mean. Ids are never reused.
//!
//! ```text
//! ids       01 … 0e    of each change
//!           18 … 1f    bytes: dictionaries, and strings one after the other
//!           20 … bf    of each op, 16 for each kind: 20 set, 30 insert, 40 delete, 50 put, 60 remove, 70 add,
//!                      80 text, 90 cut, a0 move, b0 source
//!           c0 … e7    of each value: c0 of sets, d0 of inserts, e0 of puts
//!
//! the author's last   in the bundle, before this change
//! step                zigzag of a difference modulo 2^64
//! author in an op     as in the change's own encoding: 0 its author, n the n-th of its author table
//! near                the column may be of distances to the op's own number, see `columns.rs`
//! ```
//!
//! A set's overwritten names are left out where they are one name, the *expected* one: the last set of the same
//! node in the bundle, or the node itself when none is remembered. This is about nodes that have a name, without a
//! path, and stands in for names whose author is the change's own or among the first 16 of its table. Of all that
//! has a number below 2^40 and an author below 2^24 the last set is remembered; when 1,048,576 are, and one more
//! is to be, all are forgotten.

/// Defines a family of columns: a struct with a field for each, over writers or readers of columns.
macro_rules! family {
    ($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $id:literal $field:ident,)* }) => {
        $(#[$doc])*
        pub(super) struct $name<C> { $($(#[$about])* pub(super) $field: C,)* }

        impl<C> $name<C> {
            /// Makes each column, in the order of their ids, which start at `base`.
            pub(super) fn make<E>(
                base: u8,
                mut column: impl FnMut(u8, &'static str) -> Result<C, E>,
            ) -> Result<Self, E> {
                Ok(Self { $($field: column(base + $id, stringify!($field))?,)* })
            }

            /// Goes through the columns in the order of their ids.
            pub(super) fn each(&self, base: u8, mut f: impl FnMut(u8, &C)) {
                $(f(base + $id, &self.$field);)*
            }
        }
    };
}

family! {
    /// Of each change.
    ChangeColumns {
        /// The number of its author.
        0x01 author,
        /// Step from the author's last seq (0 without one) + 1.
        0x02 seq,
        /// Of a change whose seq is not 1: 0 the author's last, 1 outside, 1 + n the change n places back.
        0x03 prev,
        /// For each prev or dep that is outside, its number.
        0x04 outside,
        /// Step from 1 + the highest lamport of prev and deps inside, 0 without one.
        0x05 lamport,
        /// Step from the op number behind the author's last change, 1 without one.
        0x06 first_number,
        /// The count of deps.
        0x07 deps,
        /// For each dep: 0 outside, n the change n places back. Any order.
        0x08 dep,
        /// The length of the author table.
        0x09 named,
        /// For each author of the table, the number.
        0x0a named_author,
        /// The count of ops.
        0x0b ops,
        /// For each op its kind, as in `op.rs`.
        0x0c kind,
        /// For each op its rank.
        0x0d rank,
        /// 1 when its signature is here, 0 when it was left out.
        0x0e is_signed,
    }
}

family! {
    /// Of bytes.
    ByteColumns {
        /// Dictionary: keys of objects, maps and paths, names of sources.
        0x18 keys,
        /// Dictionary: paths, each a varint count and varint numbers of keys.
        0x19 paths,
        /// Dictionary: keys of an object, as a path.
        0x1a shapes,
        /// Dictionary: strings in values that come more than once.
        0x1b strings,
        /// Strings in values of sets that are not in the dictionary.
        0x1c in_sets,
        /// The same, of inserts.
        0x1d in_inserts,
        /// The same, of puts.
        0x1e in_puts,
        /// Strings of text ops.
        0x1f texts,
    }
}

family! {
    /// Of each op of one kind; what the kind lacks is empty.
    OpColumns {
        /// Target: 0 the root, 1 + the author of its name. A move's element: 1 + its author.
        0x00 node,
        /// Near: the op number of the target or element, unless the root.
        0x01 node_number,
        /// Target: 0 without a path, 1 + the number of the path.
        0x02 path,
        /// 0 right of the beginning, else 1 + 2 × the parent's author + the side.
        0x03 parent,
        /// Near: the parent's op number, unless the beginning.
        0x04 parent_number,
        /// Elements deleted, ranges cut: the count. Values overwritten: 0 as expected, else 1 + the count.
        0x05 names,
        /// For each of them the author …
        0x06 name_author,
        /// … and, near, the op number.
        0x07 name_number,
        /// Removals seen: the count.
        0x08 removals,
        /// For each of them the author …
        0x09 removal_author,
        /// … and, near, the op number.
        0x0a removal_number,
        /// The number of the key.
        0x0b key,
        /// An addition: its zigzag. A text: its length in bytes. A cut: for each range, its count.
        0x0c amount,
    }
}

family! {
    /// Of the values of one kind of op, in the order of their encoding.
    ValueColumns {
        /// The tag of `encoding.rs`; 10 a number without a fraction.
        0x00 tag,
        /// For each integer, what stands behind its tag.
        0x01 integer,
        /// For each number without a fraction, of less than 2^53 either way, its zigzag.
        0x02 whole,
        /// For each other number, its bits.
        0x03 float,
        /// For each string or text: 0 not in the dictionary, 1 + its number.
        0x04 string,
        /// For each that is not in the dictionary, its length in bytes.
        0x05 length,
        /// For each array, its count.
        0x06 count,
        /// For each object, the number of its keys.
        0x07 shape,
    }
}

/// The tag of a float that has no fraction.
pub(super) const WHOLE: u8 = 10;

/// The columns of all kinds of ops.
pub(super) struct KindColumns<C> {
    pub(super) set: OpColumns<C>,
    pub(super) insert: OpColumns<C>,
    pub(super) delete: OpColumns<C>,
    pub(super) put: OpColumns<C>,
    pub(super) remove: OpColumns<C>,
    pub(super) add: OpColumns<C>,
    pub(super) text: OpColumns<C>,
    pub(super) cut: OpColumns<C>,
    pub(super) moves: OpColumns<C>,
    pub(super) source: OpColumns<C>,
    pub(super) in_sets: ValueColumns<C>,
    pub(super) in_inserts: ValueColumns<C>,
    pub(super) in_puts: ValueColumns<C>,
}

impl<C> KindColumns<C> {
    pub(super) fn make<E>(mut column: impl FnMut(u8, &'static str) -> Result<C, E>) -> Result<Self, E> {
        Ok(Self {
            set: OpColumns::make(0x20, &mut column)?,
            insert: OpColumns::make(0x30, &mut column)?,
            delete: OpColumns::make(0x40, &mut column)?,
            put: OpColumns::make(0x50, &mut column)?,
            remove: OpColumns::make(0x60, &mut column)?,
            add: OpColumns::make(0x70, &mut column)?,
            text: OpColumns::make(0x80, &mut column)?,
            cut: OpColumns::make(0x90, &mut column)?,
            moves: OpColumns::make(0xa0, &mut column)?,
            source: OpColumns::make(0xb0, &mut column)?,
            in_sets: ValueColumns::make(0xc0, &mut column)?,
            in_inserts: ValueColumns::make(0xd0, &mut column)?,
            in_puts: ValueColumns::make(0xe0, &mut column)?,
        })
    }

    pub(super) fn each(&self, mut f: impl FnMut(u8, &C)) {
        self.set.each(0x20, &mut f);
        self.insert.each(0x30, &mut f);
        self.delete.each(0x40, &mut f);
        self.put.each(0x50, &mut f);
        self.remove.each(0x60, &mut f);
        self.add.each(0x70, &mut f);
        self.text.each(0x80, &mut f);
        self.cut.each(0x90, &mut f);
        self.moves.each(0xa0, &mut f);
        self.source.each(0xb0, &mut f);
        self.in_sets.each(0xc0, &mut f);
        self.in_inserts.each(0xd0, &mut f);
        self.in_puts.each(0xe0, &mut f);
    }
}
