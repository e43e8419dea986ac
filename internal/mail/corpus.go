package mail

import (
	_ "embed"
	"errors"
	"strings"
)

//go:embed testdata/corpus-differences.tsv
var corpusDifferences string

// CorpusDifferences lists, for tests over the corpus of real mail, where what
// this package reads differs on purpose from the corpus's manifest: the reason
// by path in the corpus and column of the manifest.
func CorpusDifferences() (map[[2]string]string, error) {
	known := map[[2]string]string{}
	for line := range strings.Lines(corpusDifferences) {
		line = strings.TrimRight(line, "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.SplitN(line, "\t", 3)
		if len(f) != 3 || f[2] == "" {
			return nil, errors.New("corpus differences: not path, field and reason: " + line)
		}
		known[[2]string{f[0], f[1]}] = f[2]
	}
	return known, nil
}
