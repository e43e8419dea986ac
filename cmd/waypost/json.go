package main

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"
	"unicode"
)

// plain prepares a value for --json: names as their tags say or else in lower
// camel case, kinds as words, empty lists as [] and never null.
func plain(v any) any {
	if v == nil {
		return nil
	}
	return plainValue(reflect.ValueOf(v))
}

func plainValue(v reflect.Value) any {
	switch x := v.Interface().(type) {
	case time.Time, []byte, json.Marshaler, encoding.TextMarshaler:
		return x
	case fmt.Stringer:
		if v.CanInt() {
			return x.String()
		}
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil
		}
		return plainValue(v.Elem())
	case reflect.Slice, reflect.Array:
		list := make([]any, v.Len())
		for i := range list {
			list[i] = plainValue(v.Index(i))
		}
		return list
	case reflect.Map:
		m := map[string]any{}
		for _, k := range v.MapKeys() {
			m[fmt.Sprint(k)] = plainValue(v.MapIndex(k))
		}
		return m
	case reflect.Struct:
		m := map[string]any{}
		plainFields(m, v)
		return m
	}
	return v.Interface()
}

func plainFields(m map[string]any, v reflect.Value) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() {
			continue
		}
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && tag == "":
			plainFields(m, v.Field(i))
		case tag == "-", strings.Contains(options, "omit") && v.Field(i).IsZero():
		case tag != "":
			m[tag] = plainValue(v.Field(i))
		default:
			m[lowerCamel(f.Name)] = plainValue(v.Field(i))
		}
	}
}

// lowerCamel makes homeMDB of HomeMDB and uidNext of UIDNext.
func lowerCamel(name string) string {
	r := []rune(name)
	for i := range r {
		if !unicode.IsUpper(r[i]) || i > 0 && i+1 < len(r) && unicode.IsLower(r[i+1]) {
			break
		}
		r[i] = unicode.ToLower(r[i])
	}
	return string(r)
}
