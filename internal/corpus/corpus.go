// Package corpus finds the real messages and documents that tests are tried
// on. They are no part of this project.
//
// Its law: the folder is the one that WAYPOST_CORPUS names, else
// shared/corpus beside the module. A test without it skips and says so.
package corpus

import (
	"encoding/csv"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"testing"
)

// index lists the files; a folder without it is no corpus.
const index = "manifest.csv"

// Find gives the corpus's folder, or an error that says where it was looked for.
func Find() (string, error) {
	dir := os.Getenv("WAYPOST_CORPUS")
	if dir == "" {
		root, err := moduleRoot()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(filepath.Dir(root), "shared", "corpus")
	}
	if _, err := os.Stat(filepath.Join(dir, index)); err != nil {
		return "", fmt.Errorf("no corpus (WAYPOST_CORPUS names its folder): %w", err)
	}
	return dir, nil
}

// moduleRoot is the nearest folder upwards with a go.mod: tests run in the
// folder of their package.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", fmt.Errorf("no corpus: WAYPOST_CORPUS is not set, and no go.mod is above the working folder")
		}
		dir = up
	}
}

// Dir gives the corpus's folder, or skips the test.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := Find()
	if err != nil {
		t.Skip(err)
	}
	return dir
}

// A Row is one line of the manifest by the names of its columns; path is
// relative to the corpus's folder.
type Row map[string]string

// Rows reads the manifest's lines of one kind (mail, wbxml and so on).
func Rows(dir, kind string) ([]Row, error) {
	f, err := os.Open(filepath.Join(dir, index))
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	lines, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	if len(lines) == 0 {
		return nil, fmt.Errorf("%s is empty", f.Name())
	}
	var rows []Row
	for _, line := range lines[1:] {
		row := make(Row, len(line))
		for i, name := range lines[0] {
			row[name] = line[i]
		}
		if row["kind"] == kind {
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// Each gives every file of one kind with its line of the manifest, or skips the
// test.
func Each(t testing.TB, kind string) iter.Seq2[Row, []byte] {
	t.Helper()
	dir := Dir(t)
	rows, err := Rows(dir, kind)
	if err != nil {
		t.Fatal(err)
	}
	return func(yield func(Row, []byte) bool) {
		for _, row := range rows {
			data, err := os.ReadFile(filepath.Join(dir, row["path"])) //nolint:gosec // the manifest names it
			if err != nil {
				t.Fatal(err)
			}
			if !yield(row, data) {
				return
			}
		}
	}
}
