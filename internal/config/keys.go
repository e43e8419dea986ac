package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// keyLines finds the line of every key and section. The TOML library knows
// lines only of what is not TOML; what is TOML but wrong needs one too.
func keyLines(text string) map[string]int {
	lines := map[string]int{}
	note := func(key string, n int) {
		if _, seen := lines[key]; !seen {
			lines[key] = n
		}
	}
	section := ""
	closing := "" // of a text over several lines
	for i, line := range strings.Split(text, "\n") {
		if closing != "" {
			if strings.Contains(line, closing) {
				closing = ""
			}
			continue
		}
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
			continue
		case line[0] == '[':
			if name, ok := headerName(line); ok {
				section = name + "."
				note(name, i+1)
			}
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok {
			continue
		}
		key := section + plainKey(name)
		note(key, i+1)
		if table, _, ok := cutLast(key); ok {
			note(table, i+1) // section.key = 1 without a header
		}
		for _, q := range []string{`"""`, `'''`} {
			if strings.Count(value, q) == 1 {
				closing = q
			}
		}
	}
	return lines
}

func headerName(line string) (string, bool) {
	name := strings.TrimLeft(line, "[")
	end := strings.IndexByte(name, ']')
	if end < 0 {
		return "", false
	}
	return plainKey(name[:end]), true
}

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, '.')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// plainKey undoes the quotes and spaces that TOML allows around keys.
func plainKey(s string) string {
	parts := strings.Split(s, ".")
	for i, p := range parts {
		parts[i] = strings.Trim(strings.TrimSpace(p), `"'`)
	}
	return strings.Join(parts, ".")
}

// closest suggests what was probably meant, or nothing.
func closest(word string, known []string) string {
	best, least := "", len(word)/3+2
	for _, k := range known {
		if d := distance(word, k); d < least {
			best, least = k, d
		}
		// The right key in the wrong section.
		if _, a, ok := cutLast(k); ok && best == "" {
			if _, b, _ := cutLast(word); a == b || a == word {
				best = k
			}
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", best)
}

// distance counts the letters to insert, delete, replace or swap between two words.
func distance(a, b string) int {
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, now := rows[0], rows[1], rows[2]
		now[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			now[j] = min(last[j]+1, now[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				now[j] = min(now[j], before[j-2]+1)
			}
		}
		rows[0], rows[1], rows[2] = last, now, before
	}
	return rows[1][len(b)]
}

// Describe gives the file with every key that does something, its text and its default: what
// `waypost config describe` prints. It is itself a valid file.
func Describe() string {
	var b strings.Builder
	b.WriteString("# Waypost. Every key is optional; what is shown is the default.\n" +
		"# Each key is also a variable: listen.smtp is WAYPOST_LISTEN_SMTP, and\n" +
		"# WAYPOST_LISTEN_SMTP_FILE would name a file that holds the value.\n")
	describe(&b, reflect.ValueOf(*Default()), "")
	return b.String()
}

func describe(b *strings.Builder, v reflect.Value, section string) {
	for i := range v.NumField() { // TOML wants a section's own keys first
		f := v.Type().Field(i)
		if f.Type.Kind() == reflect.Struct || f.Type.Kind() == reflect.Map || f.Tag.Get("reserved") != "" {
			continue
		}
		comment(b, f)
		fmt.Fprintf(b, "%s = %s\n", f.Tag.Get("toml"), literal(v.Field(i)))
	}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name := section + f.Tag.Get("toml")
		switch f.Type.Kind() {
		case reflect.Map:
			comment(b, f)
			fmt.Fprintf(b, "[%s]\n", name)
		case reflect.Struct:
			comment(b, f)
			fmt.Fprintf(b, "[%s]\n", name)
			describe(b, v.Field(i), name+".")
		}
	}
}

func comment(b *strings.Builder, f reflect.StructField) {
	b.WriteString("\n")
	text := f.Tag.Get("doc")
	if all := f.Tag.Get("oneof"); all != "" {
		text += " One of: " + strings.ReplaceAll(all, " ", ", ") + "."
	}
	lo, hi := f.Tag.Get("min"), f.Tag.Get("max")
	if lo != "" && hi != "" {
		text += fmt.Sprintf(" From %s to %s.", lo, hi)
	}
	if f.Tag.Get("secret") != "" {
		text += " A secret: better in a file that the key's _FILE variable names."
	}
	line := "#"
	for _, word := range strings.Fields(text) {
		if len(line)+1+len(word) > 78 {
			b.WriteString(line + "\n")
			line = "#"
		}
		line += " " + word
	}
	b.WriteString(line + "\n")
}

func literal(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case int, bool:
		return fmt.Sprint(x)
	case Address:
		if !x.Open() {
			return `"off"`
		}
	}
	if v.Kind() == reflect.Slice {
		var items []string
		for i := range v.Len() {
			items = append(items, literal(v.Index(i)))
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	return strconv.Quote(fmt.Sprint(v.Interface()))
}
