// Package messages is the catalogue of texts, JSON files that the Go pages and
// the web client share. A text that a language lacks is shown in English.
package messages

import (
	"embed"
	"encoding/json"
	"path"
	"strings"
)

//go:embed *.json
var files embed.FS

// Catalogue is the texts of one language by their keys. {0}, {1}… in a text stand
// for what is put in.
type Catalogue map[string]string

// Languages are all catalogues by language tag.
var Languages = func() map[string]Catalogue {
	all := map[string]Catalogue{}
	list, _ := files.ReadDir(".") // embedded: there is nothing to fail
	for _, f := range list {
		raw, err := files.ReadFile(f.Name())
		var c Catalogue
		if err != nil || json.Unmarshal(raw, &c) != nil {
			panic("messages: " + f.Name() + " is no catalogue")
		}
		all[strings.TrimSuffix(f.Name(), path.Ext(f.Name()))] = c
	}
	return all
}()

// Text gives a text in a language.
func Text(language, key string, args ...string) string {
	text, ok := Languages[language][key]
	if !ok {
		if text, ok = Languages["en"][key]; !ok {
			return key
		}
	}
	for i, a := range args {
		text = strings.ReplaceAll(text, "{"+string(rune('0'+i))+"}", a)
	}
	return text
}

// RightToLeft tells how a language is written.
func RightToLeft(language string) bool { return language == "ar" }
