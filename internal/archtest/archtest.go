// Package archtest keeps the rooms of the house apart: a table says which
// package may import which other, and a test asks go list. It holds nothing
// but that test.
//
// Its law: the first row that fits a package rules it. A package that no row
// fits is a mistake too, so that a new room is a decision.
package archtest
