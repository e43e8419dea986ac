package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"

	"waypost/internal/fault"
)

// Source is where a configuration comes from.
type Source struct {
	// File is the TOML file; when empty, WAYPOST_CONFIG of Env names it, and
	// without that there is none.
	File string
	// Env is the environment, like os.Environ().
	Env []string
	// Set holds flags: a key like "listen.smtp" or "data" and its value, written
	// as in the environment.
	Set map[string]string
}

const (
	prefix  = "WAYPOST_"
	maxFile = 1 << 20 // bytes
)

// others are variables of that prefix that are no keys.
var others = map[string]bool{
	"WAYPOST_CONFIG": true, "WAYPOST_CORPUS": true, "WAYPOST_TEST_POSTGRES": true, "WAYPOST_REQUIRE_POSTGRES": true,
}

// Load reads a configuration. Its error is Invalid and holds one line for each
// mistake.
func Load(src Source) (*Config, error) {
	l := &loader{cfg: Default(), leaves: map[string]leaf{}}
	l.collect(reflect.ValueOf(l.cfg).Elem(), "")
	env := environment(src.Env)
	if src.File == "" {
		src.File = env[prefix+"CONFIG"]
	}
	if src.File != "" {
		l.file(src.File)
	}
	l.env(env)
	for _, key := range slices.Sorted(maps.Keys(src.Set)) {
		where := "--set " + key
		if f, ok := l.leaves[key]; ok {
			l.put(f, where, "", src.Set[key])
		} else {
			l.say(where, "there is no key %s%s", key, l.like(key))
		}
	}
	l.cfg.finish()
	l.cross()
	if len(l.wrong) > 0 {
		return nil, fault.New(fault.Invalid, "%s", strings.Join(l.wrong, "\n"))
	}
	return l.cfg, nil
}

// leaf is one key.
type leaf struct {
	key   string // section.key
	value reflect.Value
	field reflect.StructField
}

type loader struct {
	cfg    *Config
	leaves map[string]leaf
	wrong  []string
	from   map[string]string // key -> where it was set last
}

func (l *loader) say(where, format string, args ...any) {
	l.wrong = append(l.wrong, where+": "+fmt.Sprintf(format, args...))
}

func (l *loader) collect(v reflect.Value, section string) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		key := section + f.Tag.Get("toml")
		if f.Type.Kind() == reflect.Struct {
			l.collect(v.Field(i), key+".")
			continue
		}
		l.leaves[key] = leaf{key, v.Field(i), f}
	}
}

func environment(env []string) map[string]string {
	all := map[string]string{}
	for _, kv := range env {
		if name, value, ok := strings.Cut(kv, "="); ok && strings.HasPrefix(name, prefix) {
			all[name] = value
		}
	}
	return all
}

func (l *loader) file(path string) {
	text, err := os.ReadFile(path)
	switch {
	case err != nil:
		l.say(path, "%v", errors.Unwrap(err))
		return
	case len(text) > maxFile:
		l.say(path, "larger than %v", Size(maxFile))
		return
	}
	var tree map[string]any
	if _, err := toml.Decode(string(text), &tree); err != nil {
		var p toml.ParseError
		if errors.As(err, &p) {
			l.say(fmt.Sprintf("%s:%d", path, p.Position.Line), "%s", p.Message)
		} else {
			l.say(path, "%v", err)
		}
		return
	}
	lines := keyLines(string(text))
	where := func(key string) string {
		if n, ok := lines[key]; ok {
			return fmt.Sprintf("%s:%d", path, n)
		}
		return path
	}
	l.tree(tree, "", where, filepath.Dir(path))
}

// tree walks what the file holds.
func (l *loader) tree(tree map[string]any, section string, where func(string) string, dir string) {
	keys := slices.SortedFunc(maps.Keys(tree), func(a, b string) int {
		return strings.Compare(fmt.Sprintf("%s%s", where(section+a), a), fmt.Sprintf("%s%s", where(section+b), b))
	})
	for _, name := range keys {
		key, value := section+name, tree[name]
		if f, ok := l.leaves[key]; ok {
			l.put(f, where(key), dir, value)
			continue
		}
		sub, isTable := value.(map[string]any)
		switch {
		case isTable && section == "" && l.section(name):
			l.tree(sub, name+".", where, dir)
		case isTable && section == "":
			l.say(where(key), "there is no section [%s]%s", name, closest(name, l.sections()))
		case l.section(key):
			l.say(where(key), "%s is a section: write [%s]", key, key)
		default:
			l.say(where(key), "there is no key %s%s", key, l.like(key))
		}
	}
}

func (l *loader) sections() []string {
	seen := map[string]bool{}
	for key := range l.leaves {
		if s, _, ok := strings.Cut(key, "."); ok {
			seen[s] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

func (l *loader) section(name string) bool { return slices.Contains(l.sections(), name) }

func (l *loader) like(key string) string {
	return closest(key, slices.Sorted(maps.Keys(l.leaves)))
}

// env reads the variables. A name of ours that fits no key is a mistake when
// it begins like a section, and none of our business otherwise.
func (l *loader) env(env map[string]string) {
	names := map[string]leaf{}
	for _, f := range l.leaves {
		names[variable(f.key)] = f
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if others[name] {
			continue
		}
		if f, ok := names[name]; ok {
			l.put(f, name, "", env[name])
			continue
		}
		if base, ok := strings.CutSuffix(name, "_FILE"); ok {
			if f, ok := names[base]; ok {
				l.fromFile(f, name, env[name])
				continue
			}
		}
		if l.entry(names, name, env[name]) {
			continue
		}
		section, _, _ := strings.Cut(strings.TrimPrefix(name, prefix), "_")
		if l.section(strings.ToLower(section)) {
			l.say(name, "there is no such key%s", closest(name, slices.Sorted(maps.Keys(names))))
		}
	}
}

func (l *loader) fromFile(f leaf, name, path string) {
	text, err := os.ReadFile(path)
	if err != nil || len(text) > maxFile {
		l.say(name, "cannot read %s: %v", path, errors.Unwrap(err))
		return
	}
	l.put(f, name, "", strings.TrimRight(string(text), "\r\n"))
}

// entry sets one entry of a table: WAYPOST_DATABASE_MAIL_URLS_NAME.
func (l *loader) entry(names map[string]leaf, name, value string) bool {
	for variable, f := range names {
		rest, ok := strings.CutPrefix(name, variable+"_")
		if !ok || f.value.Kind() != reflect.Map || rest == "" {
			continue
		}
		all := maps.Clone(f.value.Interface().(map[string]string))
		if all == nil {
			all = map[string]string{}
		}
		all[strings.ToLower(rest)] = value
		l.put(f, name, "", anyMap(all))
		return true
	}
	return false
}

func anyMap(m map[string]string) map[string]any {
	all := make(map[string]any, len(m))
	for k, v := range m {
		all[k] = v
	}
	return all
}

func variable(key string) string {
	return prefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// put checks a value and stores it. From the file it has its TOML type, from
// elsewhere it is text. dir is what a relative file name starts from.
func (l *loader) put(f leaf, where, dir string, value any) {
	if where != f.key && !strings.HasPrefix(where, prefix) && !strings.HasPrefix(where, "--set") {
		where += ": " + f.key
	}
	fromFile := dir != ""
	v, err := convert(f, fromFile, value)
	if err != nil {
		l.say(where, "%v", err)
		return
	}
	if s, ok := v.Interface().(string); ok && f.field.Tag.Get("form") == "file" && s != "" && fromFile && !filepath.IsAbs(s) {
		v.SetString(filepath.Join(dir, s))
	}
	f.value.Set(v)
	if l.from == nil {
		l.from = map[string]string{}
	}
	l.from[f.key] = where
}

func convert(f leaf, typed bool, value any) (reflect.Value, error) {
	out := reflect.New(f.field.Type).Elem()
	switch out.Interface().(type) {
	case []string:
		return convertList(f, out, typed, value)
	case map[string]string:
		return convertMap(f, out, typed, value)
	}
	return out, scalar(f, out, typed, value)
}

func convertList(f leaf, out reflect.Value, typed bool, value any) (reflect.Value, error) {
	var items []any
	switch v := value.(type) {
	case []any:
		items = v
	case string:
		if typed {
			return out, fmt.Errorf("a list is wanted: [%q]", v)
		}
		for _, s := range strings.Split(v, ",") {
			if s = strings.TrimSpace(s); s != "" {
				items = append(items, s)
			}
		}
	default:
		return out, fmt.Errorf("a list is wanted, not %s", kindOf(value))
	}
	for _, item := range items {
		one := reflect.New(out.Type().Elem()).Elem()
		if err := scalar(f, one, typed, item); err != nil {
			return out, err
		}
		out = reflect.Append(out, one)
	}
	return out, nil
}

func convertMap(f leaf, out reflect.Value, typed bool, value any) (reflect.Value, error) {
	out.Set(reflect.MakeMap(out.Type()))
	entries, ok := value.(map[string]any)
	if text, isText := value.(string); isText && !typed {
		entries, ok = map[string]any{}, true
		for _, s := range strings.Fields(text) {
			name, v, found := strings.Cut(s, "=")
			if !found || name == "" {
				return out, errors.New("entries NAME=VALUE separated by spaces are wanted")
			}
			entries[name] = v
		}
	}
	if !ok {
		return out, fmt.Errorf("a table is wanted, not %s", kindOf(value))
	}
	for name, v := range entries {
		one := reflect.New(out.Type().Elem()).Elem()
		if err := scalar(f, one, typed, v); err != nil {
			return out, fmt.Errorf("%s: %w", name, err)
		}
		out.SetMapIndex(reflect.ValueOf(name), one)
	}
	return out, nil
}

// scalar converts one value and checks its bounds.
func scalar(f leaf, out reflect.Value, typed bool, value any) error {
	text, isText := value.(string)
	if typed {
		if err := sameKind(out, value); err != nil {
			return err
		}
		if !isText {
			text = fmt.Sprint(value)
		}
	}
	tag := f.field.Tag
	switch out.Interface().(type) {
	case Duration:
		d, err := parseDuration(text)
		if err != nil {
			return err
		}
		out.Set(reflect.ValueOf(d))
		return bounds(tag, d, parseDuration)
	case Size:
		s, err := parseSize(text)
		if err != nil {
			return err
		}
		out.Set(reflect.ValueOf(s))
		return bounds(tag, s, parseSize)
	case Address:
		a, err := parseAddress(text)
		out.Set(reflect.ValueOf(a))
		return err
	case int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		out.SetInt(int64(n))
		return bounds(tag, n, strconv.Atoi)
	case bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		out.SetBool(b)
		return nil
	}
	out.SetString(text)
	if all := tag.Get("oneof"); all != "" && !slices.Contains(strings.Fields(all), text) {
		return fmt.Errorf("%q is none of %s%s", text, strings.ReplaceAll(all, " ", ", "), closest(text, strings.Fields(all)))
	}
	if form := tag.Get("form"); form != "" && (text != "" || form == "dir") {
		return forms[form](text)
	}
	return nil
}

func bounds[T int | Duration | Size](tag reflect.StructTag, v T, parse func(string) (T, error)) error {
	for _, b := range []struct {
		name, word string
		bad        func(limit T) bool
	}{
		{"min", "at least", func(limit T) bool { return v < limit }},
		{"max", "at most", func(limit T) bool { return v > limit }},
	} {
		text := tag.Get(b.name)
		if text == "" {
			continue
		}
		limit, err := parse(text)
		if err != nil {
			return err
		}
		if b.bad(limit) {
			return fmt.Errorf("must be %s %v, not %v", b.word, limit, v)
		}
	}
	return nil
}

// sameKind holds the file to its types: 8 is a number and "8" is not.
func sameKind(out reflect.Value, value any) error {
	want := "a text in quotes"
	ok := false
	switch out.Interface().(type) {
	case int:
		want = "a whole number"
		_, ok = value.(int64)
	case bool:
		want = "true or false"
		_, ok = value.(bool)
	case Duration:
		want = `a duration in quotes like "90s", "4h" or "14d"`
		_, ok = value.(string)
	case Size:
		want = `a size in quotes like "50MiB", or a number of bytes`
		_, text := value.(string)
		_, number := value.(int64)
		ok = text || number
	default:
		_, ok = value.(string)
	}
	if ok {
		return nil
	}
	return fmt.Errorf("%s is wanted, not %s", want, kindOf(value))
}

func kindOf(value any) string {
	switch v := value.(type) {
	case string:
		return "a text"
	case int64, float64:
		return fmt.Sprintf("the number %v", v)
	case bool:
		return fmt.Sprintf("%v", v)
	case []any:
		return "a list"
	case map[string]any:
		return "a table"
	}
	return "a date"
}

// cross checks what depends on two keys.
func (l *loader) cross() {
	c := l.cfg
	at := func(keys ...string) string {
		for _, k := range keys {
			if w, ok := l.from[k]; ok {
				return w
			}
		}
		return keys[0]
	}
	for _, p := range []struct{ a, b, x, y string }{
		{c.TLS.Cert, c.TLS.Key, "tls.cert", "tls.key"},
		{c.TLS.LinkCert, c.TLS.LinkKey, "tls.link_cert", "tls.link_key"},
	} {
		if (p.a == "") != (p.b == "") {
			l.say(at(p.x, p.y), "%s and %s go together", p.x, p.y)
		}
	}
	if c.EAS.HeartbeatMin > c.EAS.HeartbeatMax {
		l.say(at("eas.heartbeat_min", "eas.heartbeat_max"), "eas.heartbeat_min %v is longer than eas.heartbeat_max %v", c.EAS.HeartbeatMin, c.EAS.HeartbeatMax)
	}
	if c.Auth.ProofLife <= c.EAS.HeartbeatMax {
		l.say(at("auth.proof_life", "eas.heartbeat_max"), "auth.proof_life %v must be longer than eas.heartbeat_max %v", c.Auth.ProofLife, c.EAS.HeartbeatMax)
	}
	if _, twice := c.Database.MailURLs["default"]; twice && c.Database.MailURL != "" {
		l.say(at("database.mail_urls", "database.mail_url"), "the mailbox database \"default\" is given by database.mail_url and by database.mail_urls")
	}
	if c.SMTP.SmartHostUser != "" && c.SMTP.SmartHost == "" {
		l.say(at("smtp.smart_host_user"), "smtp.smart_host_user needs smtp.smart_host")
	}
}
