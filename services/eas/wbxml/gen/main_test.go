package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// TestGeneratedIsCurrent fails when codepages.csv changed and nobody generated.
func TestGeneratedIsCurrent(t *testing.T) {
	in, err := os.Open("../codepages.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	want, err := generate(in)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../pages_gen.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("pages_gen.go is stale: run go generate in services/eas/wbxml")
	}
}

func TestRefusesABadTable(t *testing.T) {
	const head = "page,page_name,xmlns,token_hex,element,min_version,data_type,max_version,sources,note\n"
	for _, tt := range []struct{ name, rows, want string }{
		{"twice", "0,A,A,0x05,X,2.5,string,16.1,M,\n0,A,A,0x05,Y,2.5,string,16.1,M,\n", "already"},
		{"global token", "0,A,A,0x03,X,2.5,string,16.1,M,\n", "token"},
		{"version", "0,A,A,0x05,X,new,string,16.1,M,\n", "version"},
	} {
		_, err := generate(strings.NewReader(head + tt.rows))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want an error with %q", tt.name, err, tt.want)
		}
	}
}
