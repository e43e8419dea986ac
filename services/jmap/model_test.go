package jmap

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"waypost/store"
)

// questions are filters, sorts and collapsing that the model follows by
// queryChanges; each depends on something else that may change.
var questions = []string{
	`"filter":null`,
	`"filter":{"inMailbox":"F1"},"collapseThreads":true`,
	`"filter":{"hasKeyword":"$seen"},"sort":[{"property":"subject"}]`,
	`"filter":{"operator":"NOT","conditions":[{"inMailbox":"F4"}]},"sort":[{"property":"someInThreadHaveKeyword","keyword":"$flagged","isAscending":false},{"property":"receivedAt"}]`,
	`"filter":{"noneInThreadHaveKeyword":"$seen"},"sort":[{"property":"size"}],"collapseThreads":true`,
}

// TestModel makes random changes; what a client knows by /changes and
// /queryChanges alone is compared with full reads, again and again.
func TestModel(t *testing.T) {
	t.Parallel()
	states := 0
	w := newWorld(t)
	rapid.Check(t, func(rt *rapid.T) {
		u := &user{w, "alice@example.test", account(7), 7}
		u.run(`["Email/query",{"accountId":"ACCOUNT"},"0"]`)
		c := newClient(u)
		for i := range rapid.IntRange(1, 12).Draw(rt, "steps") {
			c.change(rt, i)
			if rapid.IntRange(0, 2).Draw(rt, "look") > 0 {
				continue
			}
			c.follow(rt)
			states++
		}
		c.follow(rt)
		states++
	})
	t.Logf("%d states were compared", states)
}

// client knows what a client knows.
type client struct {
	*user
	state, mailbox string
	emails         map[string]bool
	threads        map[string]bool
	boxes          map[string]string // with their counts
	answers        [][]string
	queryStates    []string
}

func newClient(u *user) *client {
	c := &client{user: u, emails: map[string]bool{}, threads: map[string]bool{}, boxes: map[string]string{}}
	q := u.one("Email/query", `{"accountId":"ACCOUNT"}`)
	for _, id := range q["ids"].([]any) {
		c.emails[id.(string)] = true
	}
	c.state = q["queryState"].(string)
	for _, id := range c.threadsOf(c.emails) {
		c.threads[id] = true
	}
	m := u.one("Mailbox/get", `{"accountId":"ACCOUNT","ids":null}`)
	for _, o := range m["list"].([]any) {
		c.boxes[u.at(o, "/id").(string)] = text(o)
	}
	c.mailbox = m["state"].(string)
	for _, q := range questions {
		o := u.one("Email/query", `{"accountId":"ACCOUNT",`+q+`}`)
		c.answers = append(c.answers, strs(o["ids"]))
		c.queryStates = append(c.queryStates, o["queryState"].(string))
	}
	return c
}

func strs(v any) (list []string) {
	for _, e := range v.([]any) {
		list = append(list, e.(string))
	}
	return list
}

func (c *client) threadsOf(emails map[string]bool) []string {
	var ids []string
	for id := range emails {
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		return nil
	}
	return strs(c.at(c.one("Email/get", `{"accountId":"ACCOUNT","ids":`+text(ids)+`,"properties":["threadId"]}`), "/list/*/threadId"))
}

// change makes one random change by JMAP or as another door does.
func (c *client) change(rt *rapid.T, i int) {
	var ids []string
	for id := range c.emails {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	pick := func() string {
		if len(ids) == 0 {
			return "M1"
		}
		return rapid.SampledFrom(ids).Draw(rt, "message")
	}
	switch rapid.IntRange(0, 7).Draw(rt, "change") {
	case 0, 1, 2:
		fields := []string{fmt.Sprintf("Message-ID: <%d-%d@x>\n", i, rapid.IntRange(0, 1<<30).Draw(rt, "id"))}
		if len(ids) > 0 && rapid.Bool().Draw(rt, "reply") {
			o := c.one("Email/get", `{"accountId":"ACCOUNT","ids":["`+pick()+`"],"properties":["messageId"]}`)
			if l := o["list"].([]any); len(l) > 0 {
				if m, ok := c.at(l[0], "/messageId").([]any); ok {
					fields = append([]string{"In-Reply-To: <" + m[0].(string) + ">"}, fields...)
				}
			}
		}
		c.deliver(simple(rapid.SampledFrom([]string{"a", "b", "Re: a"}).Draw(rt, "subject"), strings.Repeat("x", i), fields...), store.NewMessage{
			Folder: store.FolderID(rapid.SampledFrom([]int{1, 1, 4}).Draw(rt, "folder")),
		})
	case 3, 4:
		keyword := rapid.SampledFrom([]string{"$seen", "$flagged", "own"}).Draw(rt, "keyword")
		c.one("Email/set", `{"accountId":"ACCOUNT","update":{"`+pick()+`":{"keywords/`+keyword+`":`+rapid.SampledFrom([]string{"true", "null"}).Draw(rt, "on")+`}}}`)
	case 5:
		c.one("Email/set", `{"accountId":"ACCOUNT","update":{"`+pick()+`":{"mailboxIds":{"`+rapid.SampledFrom([]string{"F1", "F4", "F2"}).Draw(rt, "to")+`":true}}}}`)
	case 6:
		c.one("Email/set", `{"accountId":"ACCOUNT","destroy":["`+pick()+`"]}`)
	case 7:
		item, _ := store.ParseItemID(pick())
		e, err := c.mail.EntriesOf(c.Context(), c.me(), c.box, []store.ItemID{item})
		if err != nil {
			c.Fatal(err)
		}
		if len(e) == 1 { // as IMAP does
			_, err = c.mail.Flag(c.Context(), c.me(), c.box, store.FlagChange{Folder: e[0].Folder, Items: []store.ItemID{item}, Set: store.Deleted})
		}
		if err != nil {
			c.Fatal(err)
		}
	}
}

// follow brings the client up to date and compares with what there is.
func (c *client) follow(rt *rapid.T) {
	for i, q := range questions {
		o := c.one("Email/queryChanges", `{"accountId":"ACCOUNT",`+q+`,"sinceQueryState":"`+c.queryStates[i]+`"}`)
		removed := strs(o["removed"])
		list := slices.DeleteFunc(c.answers[i], func(id string) bool { return slices.Contains(removed, id) })
		for _, v := range o["added"].([]any) {
			at := int(c.at(v, "/index").(int64))
			if at > len(list) {
				rt.Fatalf("%s: index %d in an answer of %d", q, at, len(list))
			}
			list = slices.Insert(list, at, c.at(v, "/id").(string))
		}
		full := c.one("Email/query", `{"accountId":"ACCOUNT",`+q+`}`)
		if want := strs(full["ids"]); !slices.Equal(list, want) {
			rt.Fatalf("%s: replayed %v, want %v after %s", q, list, want, text(o))
		}
		c.answers[i], c.queryStates[i] = list, o["newQueryState"].(string)
	}
	threadState := c.state
	for more := true; more; {
		o := c.one("Email/changes", fmt.Sprintf(`{"accountId":"ACCOUNT","sinceState":%q,"maxChanges":%d}`, c.state, rapid.IntRange(1, 5).Draw(rt, "page")))
		for _, id := range append(strs(o["created"]), strs(o["updated"])...) {
			c.emails[id] = true
		}
		for _, id := range strs(o["destroyed"]) {
			delete(c.emails, id)
		}
		c.state, more = o["newState"].(string), o["hasMoreChanges"].(bool)
	}
	for more := true; more; {
		o := c.one("Thread/changes", fmt.Sprintf(`{"accountId":"ACCOUNT","sinceState":%q,"maxChanges":3}`, threadState))
		for _, id := range append(strs(o["created"]), strs(o["updated"])...) {
			c.threads[id] = true
		}
		for _, id := range strs(o["destroyed"]) {
			delete(c.threads, id)
		}
		threadState, more = o["newState"].(string), o["hasMoreChanges"].(bool)
	}
	want := newClient(c.user)
	if text(keys(c.emails)) != text(keys(want.emails)) || text(keys(c.threads)) != text(keys(want.threads)) {
		rt.Fatalf("emails %v threads %v, want %v %v", keys(c.emails), keys(c.threads), keys(want.emails), keys(want.threads))
	}
	m := c.one("Mailbox/changes", `{"accountId":"ACCOUNT","sinceState":"`+c.mailbox+`"}`)
	ids := append(strs(m["created"]), strs(m["updated"])...)
	for _, o := range c.one("Mailbox/get", `{"accountId":"ACCOUNT","ids":`+text(list(ids))+`}`)["list"].([]any) {
		c.boxes[c.at(o, "/id").(string)] = text(o)
	}
	c.mailbox = m["newState"].(string)
	for id, o := range want.boxes {
		if c.boxes[id] != o {
			rt.Fatalf("mailbox %s is known as %s, and is %s", id, c.boxes[id], o)
		}
	}
}

func keys(m map[string]bool) (list []string) {
	for k := range m {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}
