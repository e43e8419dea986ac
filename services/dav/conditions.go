package dav

import (
	"net/http"
	"slices"
	"strings"

	"waypost/internal/fault"
)

// conditions are what a request demands of the object as it is (RFC 9110 section
// 13.1.1 and 13.1.2; RFC 4918 section 10.4).
type conditions struct {
	match     [][]string // each list: one of its tags must be the object's; "*" any
	noneMatch []string   // none of them may be; "*" none at all
}

func (r *request) conditions() (c conditions, err error) {
	h := r.http.Header
	if list := tags(h.Values("If-Match")); list != nil {
		c.match = append(c.match, list)
	}
	c.noneMatch = tags(h.Values("If-None-Match"))
	// There are no locks: a list that asks for one is not fulfilled, one of ETags
	// alone is (RFC 4918 section 10.4.2).
	if v := h.Get("If"); v != "" {
		list, err := ifTags(v)
		if err != nil {
			return c, err
		}
		c.match = append(c.match, list)
	}
	return c, nil
}

// tags reads lists of entity tags.
func tags(lines []string) (list []string) {
	for _, line := range lines {
		for line = strings.TrimSpace(line); line != ""; line = strings.TrimLeft(line, " \t,") {
			if line[0] == '*' {
				list, line = append(list, "*"), line[1:]
				continue
			}
			weak := ""
			if rest, ok := strings.CutPrefix(line, "W/"); ok {
				weak, line = "W/", rest
			}
			end := -1
			if line != "" && line[0] == '"' {
				end = strings.IndexByte(line[1:], '"')
			}
			if end < 0 { // no entity tag: it is nobody's
				word, rest, _ := strings.Cut(line, ",")
				list, line = append(list, strings.TrimSpace(word)), rest
				continue
			}
			list, line = append(list, weak+line[:end+2]), line[end+2:]
		}
	}
	if list == nil && len(lines) > 0 {
		list = []string{""}
	}
	return list
}

// ifTags reads the If header as far as it means something without locks: the
// ETags of lists that hold one ETag each.
func ifTags(v string) ([]string, error) {
	list := []string{}
	for {
		start := strings.IndexByte(v, '(')
		if start < 0 {
			return list, nil
		}
		end := strings.IndexByte(v[start:], ')')
		if end < 0 {
			return nil, fault.New(fault.Invalid, "the If header is not whole")
		}
		inner := strings.TrimSpace(v[start+1 : start+end])
		if tag, ok := strings.CutPrefix(inner, "["); ok && strings.HasSuffix(tag, "]") && strings.Count(inner, "[") == 1 {
			list = append(list, strings.TrimSuffix(tag, "]"))
		}
		v = v[start+end+1:]
	}
}

// check tells whether an object of that ETag, empty for none, is as demanded.
// If-Match compares strongly, so a weak tag matches nothing.
func (c conditions) check(etag string) error {
	for _, list := range c.match {
		if etag == "" || !slices.Contains(list, "*") && !slices.Contains(list, etag) {
			return errPrecondition
		}
	}
	if etag != "" && c.noneMatch != nil {
		for _, t := range c.noneMatch {
			if t == "*" || strings.TrimPrefix(t, "W/") == etag {
				return errPrecondition
			}
		}
	}
	return nil
}

// cached tells whether the client has what it asks for already (RFC 9110 section
// 13.1.2: 304 for GET and HEAD).
func (c conditions) cached(etag string) bool {
	return c.noneMatch != nil && len(c.match) == 0 && c.check(etag) != nil
}

// depth reads the Depth header (RFC 4918 section 10.2); infinity is -1.
func (r *request) depth(missing int) (int, error) {
	switch strings.ToLower(strings.TrimSpace(r.http.Header.Get("Depth"))) {
	case "":
		return missing, nil
	case "0":
		return 0, nil
	case "1":
		return 1, nil
	case "infinity":
		return -1, nil
	}
	return 0, httpError(http.StatusBadRequest)
}
