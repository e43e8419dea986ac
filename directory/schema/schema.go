// Package schema is what objects of the directory may be made of: attribute
// types and object classes with Active Directory's names, numbers and flags,
// their syntaxes and matching rules.
package schema

// Schema is a set of attributes and classes. It is never changed, only
// replaced, so that it may be used without a lock.
type Schema struct{}
