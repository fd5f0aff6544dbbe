//! What the macros write.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Field, Fields, Ident, ItemStruct, Result, parse_quote};

/// The field that `add_crdt_fields` adds.
const HANDLE: &str = "crdt_handle";

pub(crate) fn add_crdt_fields(arguments: TokenStream, mut item: ItemStruct) -> Result<TokenStream> {
    if !arguments.is_empty() {
        return Err(Error::new_spanned(arguments, "`add_crdt_fields` takes no arguments"));
    }
    let Fields::Named(fields) = &mut item.fields else {
        return Err(Error::new_spanned(&item, "`add_crdt_fields` needs a struct with named fields"));
    };
    fields.named.push(parse_quote! {
        #[doc(hidden)]
        crdt_handle: ::bft_json_crdt::json_crdt::NodeHandle
    });
    Ok(quote! { #item })
}

pub(crate) fn derive_crdt_node(item: DeriveInput) -> Result<TokenStream> {
    let Data::Struct(data) = &item.data else {
        return Err(Error::new_spanned(&item, "`CrdtNode` can be derived for structs only"));
    };
    let Fields::Named(named) = &data.fields else {
        return Err(Error::new_spanned(&item, "`CrdtNode` needs a struct with named fields"));
    };
    if !item.generics.params.is_empty() {
        return Err(Error::new_spanned(&item.generics, "`CrdtNode` cannot be derived for generic structs"));
    }
    let (handle, fields): (Vec<&Field>, Vec<&Field>) =
        named.named.iter().partition(|field| field.ident.as_ref().is_some_and(|name| name == HANDLE));
    if handle.is_empty() {
        return Err(Error::new_spanned(&item.ident, "put `#[add_crdt_fields]` above the derive"));
    }
    let name = &item.ident;
    let names: Vec<&Ident> = fields.iter().filter_map(|field| field.ident.as_ref()).collect();
    let keys: Vec<String> =
        names.iter().map(|name| name.to_string().trim_start_matches("r#").to_owned()).collect();
    let types: Vec<_> = fields.iter().map(|field| &field.ty).collect();
    let indices = 0u32..;
    let indices: Vec<u32> = indices.take(names.len()).collect();
    Ok(quote! {
        impl ::bft_json_crdt::json_crdt::CrdtNode for #name {
            fn describe(
                types: &mut ::bft_json_crdt::json_crdt::TypeTable,
            ) -> ::bft_json_crdt::json_crdt::TypeIx {
                types.object::<Self>(|types| ::std::vec![
                    #((#keys, <#types as ::bft_json_crdt::json_crdt::CrdtNode>::describe(types))),*
                ])
            }
            fn attach(handle: ::bft_json_crdt::json_crdt::NodeHandle) -> Self {
                Self {
                    #(#names: <#types as ::bft_json_crdt::json_crdt::CrdtNode>::attach(handle.field(#indices)),)*
                    crdt_handle: handle,
                }
            }
            fn handle(&self) -> &::bft_json_crdt::json_crdt::NodeHandle {
                &self.crdt_handle
            }
        }
        // A field that only views show is used all the same.
        const _: () = {
            #[allow(dead_code)]
            fn shown_by_views(node: &#name) {
                #(let _ = &node.#names;)*
            }
        };
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(result: Result<TokenStream>, expect: &str) {
        assert_eq!(result.unwrap_err().to_string(), expect);
    }

    #[test]
    fn mistakes_are_named() {
        check(
            add_crdt_fields(
                quote!(fast),
                parse_quote!(
                    struct S {
                        a: A,
                    }
                ),
            ),
            "`add_crdt_fields` takes no arguments",
        );
        check(
            add_crdt_fields(
                quote!(),
                parse_quote!(
                    struct S(A);
                ),
            ),
            "`add_crdt_fields` needs a struct with named fields",
        );
        check(
            derive_crdt_node(parse_quote!(
                struct S {
                    a: A,
                }
            )),
            "put `#[add_crdt_fields]` above the derive",
        );
        check(
            derive_crdt_node(parse_quote!(
                enum E {
                    A,
                }
            )),
            "`CrdtNode` can be derived for structs only",
        );
        check(
            derive_crdt_node(parse_quote!(
                struct S(A);
            )),
            "`CrdtNode` needs a struct with named fields",
        );
        check(
            derive_crdt_node(parse_quote!(
                struct S<T> {
                    a: T,
                    crdt_handle: H,
                }
            )),
            "`CrdtNode` cannot be derived for generic structs",
        );
    }

    #[test]
    fn raw_field_names_lose_their_prefix() {
        let code = derive_crdt_node(parse_quote!(
            struct S {
                r#type: A,
                crdt_handle: H,
            }
        ))
        .unwrap()
        .to_string();
        assert!(code.contains("\"type\""), "{code}");
    }
}
