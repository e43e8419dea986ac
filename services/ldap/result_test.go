package ldap

import (
	"errors"
	"testing"

	"waypost/directory/tree"
	"waypost/internal/fault"
)

func TestEveryFaultHasACode(t *testing.T) {
	for _, k := range fault.Kinds() {
		c, ok := codes[k]
		if !ok {
			t.Errorf("fault %v has no result code", k)
		}
		if codeNames[c] == "" {
			t.Errorf("code %d of fault %v has no name", c, k)
		}
	}
	if len(codes) != len(fault.Kinds()) {
		t.Error("the table names faults that do not exist")
	}
}

func TestEveryCodeOfTheTreeIsKnown(t *testing.T) {
	for _, c := range []tree.Code{
		tree.ResultTimeLimit, tree.ResultSizeLimit, tree.ResultStrongerAuthRequired, tree.ResultReferral,
		tree.ResultAdminLimit, tree.ResultNoSuchAttribute, tree.ResultUndefinedType,
		tree.ResultInappropriateMatching, tree.ResultConstraintViolation, tree.ResultValueExists,
		tree.ResultInvalidSyntax, tree.ResultNoSuchObject, tree.ResultInvalidDNSyntax,
		tree.ResultInappropriateAuth, tree.ResultInsufficientAccess, tree.ResultBusy,
		tree.ResultUnavailable, tree.ResultUnwillingToPerform, tree.ResultNamingViolation,
		tree.ResultObjectClassViolation, tree.ResultNotAllowedOnNonLeaf, tree.ResultNotAllowedOnRDN,
		tree.ResultEntryAlreadyExists, tree.ResultAffectsMultipleDSAs, tree.ResultOther, tree.ResultAssertionFailed,
	} {
		if codeNames[code(c)] == "" {
			t.Errorf("code %d of the tree has no name", c)
		}
	}
}

func TestResults(t *testing.T) {
	s := &Server{cfg: Config{Host: "h"}}
	refused := tree.Refuse(tree.ResultNoSuchObject, "not there")
	refused.Matched = mustDN("DC=example,DC=test")
	for _, tt := range []struct {
		err     error
		code    code
		matched string
		text    string
	}{
		{nil, codeSuccess, "", ""},
		{errors.New("relation does not exist"), codeOther, "", "internal error"},
		{refused, codeNoSuchObject, "DC=example,DC=test", "not there"},
		{fault.New(fault.Denied, "no"), codeInsufficientAccess, "", "no"},
		{&tree.Referral{DN: mustDN("DC=eu,DC=example,DC=test"), Host: "there"}, codeReferral, "", "another naming context"},
	} {
		r := s.resultOf(tt.err)
		if r.code != tt.code || r.matched != tt.matched || r.text != tt.text {
			t.Errorf("%v: %+v", tt.err, r)
		}
	}
	if r := s.resultOf(&tree.Referral{DN: mustDN("OU=a b?,DC=x")}); len(r.referral) != 1 || r.referral[0] != "ldap://h/OU=a%20b%3F,DC=x" {
		t.Errorf("referral: %v", r.referral)
	}
}
