package e2e

import (
	"encoding/xml"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strings"
	"time"
)

// davReplica is a client of CalDAV or CardDAV in TestModel: it follows folders by
// sync-collection and changes what it has seen with If-Match.
type davReplica struct {
	m     *world
	label string
	rnd   *rand.Rand
	colls []*davColl
	made  int
}

type davColl struct {
	at    *place
	token string
	items map[string]*davItem // by address
	heard int64
}

// davItem is what the client has of an object; text is empty when it must be read.
type davItem struct{ etag, text string }

func (m *world) newReplica(label string, rnd *rand.Rand, kinds ...string) *davReplica {
	r := &davReplica{m: m, label: label, rnd: rnd}
	for _, at := range m.places {
		for _, k := range kinds {
			if at.kind == k {
				r.colls = append(r.colls, &davColl{at: at, items: map[string]*davItem{}})
			}
		}
	}
	return r
}

func (r *davReplica) name() string { return r.label }

func (r *davReplica) step(changes bool) bool {
	if !changes {
		more := false
		for _, c := range r.colls {
			more = r.sync(c, false) || more
		}
		return more
	}
	c := r.colls[r.rnd.IntN(len(r.colls))]
	if c.token == "" || r.rnd.IntN(3) == 0 {
		r.sync(c, true)
		return true
	}
	r.change(c)
	return true
}

// ask makes one request until it is answered, and some a second time: the first
// answer was lost. It gives the last answer; first is the first
// one's code, for who looks on: -1 when nobody can know what was done.
func (r *davReplica) ask(method, path, body string, lossy bool, header ...string) (code int, head http.Header, text string, first int) {
	for tries := 1; ; tries++ {
		req, err := http.NewRequestWithContext(quietContext, method, "https://"+r.m.s.addr["https"]+path, strings.NewReader(body))
		if err != nil {
			r.m.fail("%s: %v", r.label, err)
			return
		}
		req.SetBasicAuth("alice@"+domain, password)
		switch {
		case strings.HasPrefix(body, "<"):
			req.Header.Set("Content-Type", "application/xml; charset=utf-8")
		case strings.HasSuffix(path, ".vcf"):
			req.Header.Set("Content-Type", "text/vcard; charset=utf-8")
		default:
			req.Header.Set("Content-Type", "text/calendar; charset=utf-8")
		}
		for i := 0; i+1 < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		res, err := davClient.Do(req)
		if err == nil {
			var b []byte
			b, err = io.ReadAll(res.Body)
			_ = res.Body.Close()
			code, head, text = res.StatusCode, res.Header, string(b)
		}
		if err != nil || code >= 500 || code == http.StatusUnauthorized {
			pause(r.rnd)
			continue
		}
		if first == 0 {
			if first = code; tries > 1 && code >= 400 {
				first = -1 // it may have been done before
			}
		}
		if lossy && r.rnd.IntN(6) == 0 {
			continue
		}
		return
	}
}

type davAnswer struct {
	Responses []struct {
		Href     string `xml:"DAV: href"`
		Status   string `xml:"DAV: status"`
		Propstat []struct {
			ETag string `xml:"DAV: prop>getetag"`
			Cal  string `xml:"prop>calendar-data"`
			Card string `xml:"prop>address-data"`
		} `xml:"DAV: propstat"`
	} `xml:"DAV: response"`
	Token string `xml:"DAV: sync-token"`
}

func (r *davReplica) report(path, body string) *davAnswer {
	code, _, text, _ := r.ask("REPORT", path, body, false, "Depth", "1")
	a := &davAnswer{}
	if err := xml.Unmarshal([]byte(text), a); code != http.StatusMultiStatus || err != nil {
		r.m.fail("%s: %s: %d %s %v", r.label, body, code, text, err)
	}
	return a
}

// sync asks what is new. An answer is lost now and then.
func (r *davReplica) sync(c *davColl, lossy bool) bool {
	limit, asked := "", r.m.clock.Add(1)
	if r.rnd.IntN(2) == 0 {
		limit = fmt.Sprintf("<limit><nresults>%d</nresults></limit>", 5+r.rnd.IntN(40))
	}
	a := r.report(c.at.path, `<sync-collection xmlns="DAV:"><sync-token>`+c.token+`</sync-token><sync-level>1</sync-level>`+limit+`<prop><getetag/></prop></sync-collection>`)
	if lossy && r.rnd.IntN(6) == 0 || a.Token == "" {
		return true
	}
	more, news := false, c.token != a.Token
	c.token = a.Token
	for _, one := range a.Responses {
		switch {
		case one.Href == c.at.path:
			more = true
		case strings.Contains(one.Status, "404"):
			delete(c.items, one.Href)
		case len(one.Propstat) > 0:
			if have := c.items[one.Href]; have == nil || have.etag != one.Propstat[0].ETag {
				c.items[one.Href] = &davItem{etag: one.Propstat[0].ETag}
			}
		}
	}
	r.fetch(c)
	if !more {
		c.heard = asked
	}
	return more || news
}

// fetch reads what the client does not have.
func (r *davReplica) fetch(c *davColl) {
	var hrefs strings.Builder
	for href, item := range c.items {
		if item.text == "" {
			hrefs.WriteString("<href>" + href + "</href>")
		}
	}
	if hrefs.Len() == 0 {
		return
	}
	a := r.report(c.at.path, multiget(c.at.kind, hrefs.String()))
	for _, one := range a.Responses {
		if item := c.items[one.Href]; item != nil && len(one.Propstat) > 0 && one.Propstat[0].Cal+one.Propstat[0].Card != "" {
			item.etag, item.text = one.Propstat[0].ETag, crlfText(one.Propstat[0].Cal+one.Propstat[0].Card)
		} else if item != nil { // gone since: the next sync tells
			delete(c.items, one.Href)
		}
	}
}

// XML makes one character of the two that end a line.
func crlfText(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\n", "\r\n")
}

func multiget(kind, hrefs string) string {
	if kind == "c" {
		return `<c:addressbook-multiget xmlns="DAV:" xmlns:c="urn:ietf:params:xml:ns:carddav"><prop><getetag/><c:address-data/></prop>` + hrefs + `</c:addressbook-multiget>`
	}
	return `<c:calendar-multiget xmlns="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav"><prop><getetag/><c:calendar-data/></prop>` + hrefs + `</c:calendar-multiget>`
}

// change makes one change of the client's owner.
func (r *davReplica) change(c *davColl) {
	href := ""
	if n := len(c.items); n > 0 && r.rnd.IntN(30+n) > 12 {
		all := sorted(c.items)
		href = all[r.rnd.IntN(n)]
	}
	if href == "" {
		r.made++
		th := r.m.create(c.at.kind)
		words := r.m.words(c.at.kind, r.rnd)
		name := fmt.Sprintf("%s-%d.%s", r.label, r.made, map[bool]string{true: "vcf", false: "ics"}[c.at.kind == "c"])
		w := r.m.begin(r.label, th, merged(words, seen{"F": c.at.name}))
		r.put(c, c.at.path+name, blank(c.at.kind, th.birth), words, th, w, "If-None-Match", "*")
		return
	}
	item := c.items[href]
	if item.text == "" {
		r.sync(c, true)
		return
	}
	birth, _ := readText(c.at.kind, item.text)
	th := r.m.thing(birth)
	if th == nil {
		r.m.fail("%s: what is %s?", r.label, item.text)
		return
	}
	switch r.rnd.IntN(7) {
	case 0:
		w := r.m.begin(r.label, th, nil)
		code, _, text, first := r.ask(http.MethodDelete, href, "", true, "If-Match", item.etag)
		r.finish(th, w, first)
		switch code {
		case http.StatusNoContent, http.StatusNotFound:
			delete(c.items, href)
		case http.StatusPreconditionFailed:
			item.text = ""
			r.sync(c, true)
		default:
			r.m.fail("%s: DELETE: %d %s", r.label, code, text)
		}
	case 1:
		if c.at.kind != "e" {
			return
		}
		to := r.colls[0]
		if to == c {
			to = r.colls[1]
		}
		dest := to.at.path + href[strings.LastIndexByte(href, '/')+1:]
		w := r.m.begin(r.label, th, seen{"F": to.at.name})
		code, _, text, first := r.ask("MOVE", href, "", true, "Destination", "https://"+r.m.s.addr["https"]+dest, "Overwrite", "F")
		r.finish(th, w, first)
		switch code {
		case http.StatusCreated, http.StatusNoContent:
			delete(c.items, href)
		case http.StatusNotFound, http.StatusPreconditionFailed, http.StatusConflict, http.StatusForbidden:
		default:
			r.m.fail("%s: MOVE: %d %s", r.label, code, text)
		}
		r.sync(c, false)
		r.sync(to, false)
	default:
		words := some(r.m.words(c.at.kind, r.rnd), r.rnd)
		r.put(c, href, item.text, words, th, r.m.begin(r.label, th, words), "If-Match", item.etag)
	}
}

func (r *davReplica) finish(th *thing, w *write, first int) {
	r.m.finish(th, w, first >= 200 && first < 300, first >= 300)
}

func (r *davReplica) put(c *davColl, href, base string, words seen, th *thing, w *write, header ...string) {
	text := base
	for _, k := range sorted(words) {
		text = setWord(c.at.kind, text, k, words[k])
	}
	code, head, answer, first := r.ask(http.MethodPut, href, text, true, header...)
	r.finish(th, w, first)
	switch code {
	case http.StatusCreated, http.StatusNoContent, http.StatusOK:
		if tag := head.Get("ETag"); tag != "" {
			c.items[href] = &davItem{etag: tag, text: text}
		} else {
			delete(c.items, href)
			r.again(c, href)
		}
	case http.StatusPreconditionFailed, http.StatusNotFound:
		delete(c.items, href)
		r.again(c, href)
	default:
		r.m.fail("%s: PUT %s: %d %s\n%s", r.label, href, code, answer, text)
	}
}

// again reads one object.
func (r *davReplica) again(c *davColl, href string) {
	a := r.report(c.at.path, multiget(c.at.kind, "<href>"+href+"</href>"))
	for _, one := range a.Responses {
		if len(one.Propstat) > 0 && one.Propstat[0].Cal+one.Propstat[0].Card != "" {
			c.items[href] = &davItem{one.Propstat[0].ETag, crlfText(one.Propstat[0].Cal + one.Propstat[0].Card)}
		}
	}
}

func (r *davReplica) view() map[int]seen {
	all := map[int]seen{}
	for _, c := range r.colls {
		for href, item := range c.items {
			birth, v := readText(c.at.kind, item.text)
			if all[birth] != nil || birth == 0 {
				r.m.fail("%s has %d twice: %s %s", r.label, birth, href, item.text)
			}
			v["F"] = c.at.name
			all[birth] = v
		}
	}
	return all
}

// sameAsServer compares what the client has with what there is.
func (r *davReplica) sameAsServer() {
	for _, c := range r.colls {
		code, _, text, _ := r.ask("PROPFIND", c.at.path, `<propfind xmlns="DAV:"><prop><getetag/></prop></propfind>`, false, "Depth", "1")
		a := &davAnswer{}
		if err := xml.Unmarshal([]byte(text), a); code != http.StatusMultiStatus || err != nil {
			r.m.fail("PROPFIND: %d %s %v", code, text, err)
			return
		}
		have := map[string]bool{}
		for _, one := range a.Responses {
			if one.Href == c.at.path || len(one.Propstat) == 0 {
				continue
			}
			have[one.Href] = true
			item := c.items[one.Href]
			if item == nil || item.etag != one.Propstat[0].ETag {
				r.m.fail("%s holds %v of %s, whose ETag is %s", r.label, item, one.Href, one.Propstat[0].ETag)
				continue
			}
			if _, _, now, _ := r.ask(http.MethodGet, one.Href, "", false); now != item.text {
				r.m.fail("%s holds of %s\n%s\nthere is\n%s", r.label, one.Href, item.text, now)
			}
			if r.label == "CalDAV" && strings.Contains(one.Href, "/CalDAV-") && !strings.Contains(item.text, "X-KEEP;A=b:") {
				r.m.fail("X-KEEP is lost: %s", item.text)
			}
		}
		for href := range c.items {
			if !have[href] {
				r.m.fail("%s still holds %s", r.label, href)
			}
		}
	}
}

// blank is an object that says nothing yet.
func blank(kind string, birth int) string {
	mark := fmt.Sprint(kind, birth)
	var lines string
	switch kind {
	case "e":
		lines = "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//model//EN\nBEGIN:VEVENT\nUID:" + mark + "-dav\nDTSTAMP:20261124T080000Z\nSUMMARY:" + mark +
			"\nX-KEEP;A=b:" + mark + "\nEND:VEVENT\nEND:VCALENDAR\n"
	case "t":
		lines = "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//model//EN\nBEGIN:VTODO\nUID:" + mark + "-dav\nDTSTAMP:20261124T080000Z\nSUMMARY:" + mark +
			"\nX-KEEP;A=b:" + mark + "\nEND:VTODO\nEND:VCALENDAR\n"
	default:
		lines = "BEGIN:VCARD\nVERSION:3.0\nUID:" + mark + "-dav\nFN:" + mark + "\nN:" + mark + ";;;;\nX-KEEP;A=b:" + mark + "\nEND:VCARD\n"
	}
	return strings.ReplaceAll(lines, "\n", "\r\n")
}

// setProp replaces a property or adds it.
func setProp(text, name, line string) string {
	all := regexp.MustCompile(`(?m)^` + name + `[;:][^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*`)
	if all.MatchString(text) {
		done := false
		return all.ReplaceAllStringFunc(text, func(string) string {
			if done {
				return ""
			}
			done = true
			return line + "\r\n"
		})
	}
	for _, end := range []string{"END:VEVENT", "END:VTODO", "END:VCARD"} {
		text = strings.Replace(text, end, line+"\r\n"+end, 1)
	}
	return text
}

// setWord writes one word into an object's text.
func setWord(kind, text, word, value string) string {
	birth, _ := readText(kind, text)
	mark := fmt.Sprint(kind, birth)
	if kind != "c" && !strings.Contains(text, "X-KEEP") {
		text = setProp(text, "X-KEEP", "X-KEEP:"+mark)
	}
	switch kind + word {
	case "eS", "tS":
		return setProp(text, "SUMMARY", "SUMMARY:"+mark+" "+value)
	case "eL":
		return setProp(text, "LOCATION", "LOCATION:"+value)
	case "eN", "tN":
		return setProp(text, "DESCRIPTION", "DESCRIPTION:"+value)
	case "eT":
		start, _ := time.Parse(compactTime, value)
		return setProp(setProp(text, "DTSTART", "DTSTART:"+value), "DTEND", "DTEND:"+start.Add(time.Hour).Format(compactTime))
	case "tP":
		return setProp(text, "PRIORITY", "PRIORITY:"+map[string]string{"0": "9", "1": "5", "2": "1"}[value])
	case "cS":
		return setProp(setProp(text, "N", "N:"+mark+";"+value+";;;"), "FN", "FN:"+value+" "+mark)
	case "cM":
		return setProp(text, "TEL", "TEL;TYPE=CELL:"+value)
	case "cE":
		return setProp(text, "EMAIL", "EMAIL:"+value)
	case "cN":
		return setProp(text, "NOTE", "NOTE:"+value)
	}
	return text
}

var textLine = regexp.MustCompile(`(?m)^([A-Z-]+)((?:;[^:\r\n]*)?):([^\r\n]*)`)

// readText gives an object's words.
func readText(kind, text string) (int, seen) {
	v, birth := seen{}, 0
	if kind == "t" {
		v["P"] = "1"
	}
	text = strings.ReplaceAll(text, "\r\n ", "")
	if at := strings.Index(text, "BEGIN:VEVENT"); at > 0 {
		text = text[at:] // the rules of zones have a DTSTART too
	}
	for _, f := range textLine.FindAllStringSubmatch(text, -1) {
		name, params, value := f[1], f[2], f[3]
		switch kind + name {
		case "eSUMMARY", "tSUMMARY":
			birth = birthOf(value)
			if _, s, _ := strings.Cut(value, " "); s != "" {
				v["S"] = s
			}
		case "eLOCATION":
			v["L"] = value
		case "eDESCRIPTION", "tDESCRIPTION", "cNOTE":
			v["N"] = value
		case "eDTSTART":
			if _, zone, ok := strings.Cut(params, "TZID="); ok {
				at, err := time.LoadLocation(zone)
				if start, perr := time.ParseInLocation("20060102T150405", value, at); err == nil && perr == nil {
					value = start.UTC().Format(compactTime)
				}
			}
			v["T"] = value
		case "tPRIORITY":
			v["P"] = map[string]string{"0": "1", "5": "1"}[value]
			switch {
			case value >= "1" && value < "5":
				v["P"] = "2"
			case value > "5":
				v["P"] = "0"
			}
		case "cN":
			parts := strings.Split(value, ";")
			birth = birthOf(parts[0])
			if len(parts) > 1 && parts[1] != "" {
				v["S"] = parts[1]
			}
		case "cTEL":
			v["M"] = strings.TrimPrefix(value, "tel:")
		case "cEMAIL":
			v["E"] = value
		}
	}
	return birth, v
}
