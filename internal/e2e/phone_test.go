package e2e

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	wb "waypost/services/eas/wbxml"
)

// phone is an ActiveSync client as a phone behaves: it keeps sync keys, sends
// commands and applies what comes back.
type phone struct {
	base, user, password string
	id, version          string
	key                  string // policy key
	http                 *http.Client
	folderKey            string
	folders              map[string]phoneFolder // by server id
}

type phoneFolder struct{ name, parent, kind string }

// Folder types of the protocol.
const (
	typeInbox   = "2"
	typeDrafts  = "3"
	typeDeleted = "4"
	typeSent    = "5"
	typeUser    = "12"
)

func newPhone(base, user, password, id, version string) *phone {
	return &phone{
		base: base, user: user, password: password, id: id, version: version, key: "0", folderKey: "0",
		folders: map[string]phoneFolder{},
		http: &http.Client{Transport: &http.Transport{
			TLSClientConfig:     &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // the test's own server, self-signed
			MaxIdleConnsPerHost: 4,
		}},
	}
}

// raw sends a command and gives the answer's HTTP status and body.
func (p *phone) raw(ctx context.Context, cmd, contentType string, body io.Reader, extra url.Values) (int, http.Header, []byte, error) {
	q := url.Values{"Cmd": {cmd}, "User": {p.user}, "DeviceId": {p.id}, "DeviceType": {"TestPhone"}}
	for k, v := range extra {
		q[k] = v
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.base+"/Microsoft-Server-ActiveSync?"+q.Encode(), body)
	if err != nil {
		return 0, nil, nil, err
	}
	req.SetBasicAuth(p.user, p.password)
	req.Header.Set("MS-ASProtocolVersion", p.version)
	req.Header.Set("X-MS-PolicyKey", p.key)
	req.Header.Set("User-Agent", "WaypostTest/1.0")
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	res, err := p.http.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, res.Header, b, err
}

// do sends a WBXML command; the answer is nil for an empty body.
func (p *phone) do(ctx context.Context, cmd string, n *wb.Node) (*wb.Node, error) {
	var body []byte
	if n != nil {
		var err error
		if body, err = wb.Marshal(n); err != nil {
			return nil, err
		}
	}
	status, _, b, err := p.raw(ctx, cmd, "application/vnd.ms-sync.wbxml", bytes.NewReader(body), nil)
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("%s: HTTP %d %.200s", cmd, status, b)
	}
	if len(b) == 0 {
		return nil, nil
	}
	d := wb.NewDecoder(bytes.NewReader(b), wb.Limits{Held: 256 << 20, Inline: 256 << 20, Text: 256 << 20, Opaque: 256 << 20, Elements: 1 << 20})
	out := d.Tree(nil)
	if err := d.Err(); err != nil {
		return nil, fmt.Errorf("%s: answer: %w", cmd, err)
	}
	return out, nil
}

// provision does the two-phase handshake of MS-ASPROV 3.1.5.1.
func (p *phone) provision(ctx context.Context) error {
	kind := "MS-EAS-Provisioning-WBXML"
	if p.version == "2.5" {
		kind = "MS-WAP-Provisioning-XML"
	}
	ask := wb.New(wb.ProvisionProvision)
	if p.version == "14.1" || p.version == "16.1" {
		ask.Add(wb.New(wb.SettingsDeviceInformation, wb.New(wb.SettingsSet, wb.NewText(wb.SettingsModel, "Test phone"), wb.NewText(wb.SettingsOS, "none"))))
	}
	ask.Add(wb.New(wb.ProvisionPolicies, wb.New(wb.ProvisionPolicy, wb.NewText(wb.ProvisionPolicyType, kind))))
	p.key = "0"
	ans, err := p.do(ctx, "Provision", ask)
	if err != nil {
		return err
	}
	if s := ans.Get(wb.ProvisionPolicies, wb.ProvisionPolicy, wb.ProvisionStatus); s == "2" {
		return nil // no policy
	} else if s != "1" {
		return fmt.Errorf("provision, first phase: %v", ans)
	}
	p.key = ans.Get(wb.ProvisionPolicies, wb.ProvisionPolicy, wb.ProvisionPolicyKey)
	ans, err = p.do(ctx, "Provision", wb.New(wb.ProvisionProvision, wb.New(wb.ProvisionPolicies, wb.New(wb.ProvisionPolicy,
		wb.NewText(wb.ProvisionPolicyType, kind), wb.NewText(wb.ProvisionPolicyKey, p.key), wb.NewText(wb.ProvisionStatus, "1")))))
	if err != nil {
		return err
	}
	if s := ans.Get(wb.ProvisionPolicies, wb.ProvisionPolicy, wb.ProvisionStatus); s != "1" {
		return fmt.Errorf("provision, second phase: %v", ans)
	}
	p.key = ans.Get(wb.ProvisionPolicies, wb.ProvisionPolicy, wb.ProvisionPolicyKey)
	return nil
}

// folderSync brings the folders up to date.
func (p *phone) folderSync(ctx context.Context) error {
	ans, err := p.do(ctx, "FolderSync", wb.New(wb.FolderHierarchyFolderSync, wb.NewText(wb.FolderHierarchySyncKey, p.folderKey)))
	if err != nil {
		return err
	}
	if s := ans.Get(wb.FolderHierarchyStatus); s != "1" {
		return fmt.Errorf("FolderSync: %v", ans)
	}
	if p.folderKey == "0" {
		clear(p.folders)
	}
	p.folderKey = ans.Get(wb.FolderHierarchySyncKey)
	changes := ans.Child(wb.FolderHierarchyChanges)
	if changes == nil {
		return nil
	}
	for _, c := range changes.Children {
		id := c.Get(wb.FolderHierarchyServerId)
		switch c.Tag {
		case wb.FolderHierarchyAdd, wb.FolderHierarchyUpdate:
			p.folders[id] = phoneFolder{c.Get(wb.FolderHierarchyDisplayName), c.Get(wb.FolderHierarchyParentId), c.Get(wb.FolderHierarchyType)}
		case wb.FolderHierarchyDelete:
			delete(p.folders, id)
		}
	}
	return nil
}

func (p *phone) folderOf(kind string) string {
	for id, f := range p.folders {
		if f.kind == kind {
			return id
		}
	}
	return ""
}

func (p *phone) folderNamed(name string) string {
	for id, f := range p.folders {
		if f.name == name {
			return id
		}
	}
	return ""
}

// collection is a folder on the phone.
type collection struct {
	p       *phone
	id      string
	key     string
	window  int
	class   string // of 2.5; Email when empty
	mime    bool   // ask for whole messages
	items   map[string]*wb.Node
	more    bool
	added   int // Adds seen in all, to notice doubles
	doubles []string
	gone    int
}

func (p *phone) collection(id string) *collection {
	return &collection{p: p, id: id, key: "0", window: 100, items: map[string]*wb.Node{}}
}

func (c *collection) request(commands ...*wb.Node) *wb.Node {
	col := wb.New(wb.AirSyncCollection)
	if c.p.version == "2.5" {
		col.Add(wb.NewText(wb.AirSyncClass, cmp.Or(c.class, "Email")))
	}
	col.Add(wb.NewText(wb.AirSyncSyncKey, c.key), wb.NewText(wb.AirSyncCollectionId, c.id))
	if c.key != "0" {
		col.Add(wb.NewText(wb.AirSyncDeletesAsMoves, "1"), wb.New(wb.AirSyncGetChanges), wb.NewInt(wb.AirSyncWindowSize, c.window))
		opt := wb.New(wb.AirSyncOptions, wb.NewText(wb.AirSyncFilterType, "0"))
		switch {
		case c.p.version == "2.5":
			opt.Add(wb.NewText(wb.AirSyncTruncation, "7"))
		case c.mime:
			opt.Add(wb.NewText(wb.AirSyncMIMESupport, "2"), wb.New(wb.AirSyncBaseBodyPreference, wb.NewText(wb.AirSyncBaseType, "4")))
		default:
			opt.Add(wb.New(wb.AirSyncBaseBodyPreference, wb.NewText(wb.AirSyncBaseType, "1"), wb.NewText(wb.AirSyncBaseTruncationSize, "500")))
		}
		col.Add(opt)
		if len(commands) > 0 {
			col.Add(wb.New(wb.AirSyncCommands, commands...))
		}
	}
	return wb.New(wb.AirSyncSync, wb.New(wb.AirSyncCollections, col))
}

// sync does one round trip with the client's commands and applies the answer.
// It gives the Responses element, nil if there was none.
func (c *collection) sync(ctx context.Context, commands ...*wb.Node) (*wb.Node, error) {
	ans, err := c.p.do(ctx, "Sync", c.request(commands...))
	if err != nil {
		return nil, err
	}
	return c.apply(ans)
}

func (c *collection) apply(ans *wb.Node) (*wb.Node, error) {
	c.more = false
	if ans == nil {
		return nil, nil // nothing to report
	}
	col := ans.Child(wb.AirSyncCollections, wb.AirSyncCollection)
	if col == nil {
		return nil, fmt.Errorf("Sync: %v", ans)
	}
	if s := col.Get(wb.AirSyncStatus); s != "1" {
		return nil, fmt.Errorf("Sync: status %s: %v", s, ans)
	}
	c.key = col.Get(wb.AirSyncSyncKey)
	c.more = col.Has(wb.AirSyncMoreAvailable)
	if cmds := col.Child(wb.AirSyncCommands); cmds != nil {
		for _, cmd := range cmds.Children {
			id := cmd.Get(wb.AirSyncServerId)
			data := cmd.Child(wb.AirSyncApplicationData)
			switch cmd.Tag {
			case wb.AirSyncAdd:
				c.added++
				if _, there := c.items[id]; there {
					c.doubles = append(c.doubles, id)
				}
				c.items[id] = data
			case wb.AirSyncChange:
				old := c.items[id]
				for made := range col.Child(wb.AirSyncResponses).All(wb.AirSyncAdd) {
					if old == nil && made.Get(wb.AirSyncServerId) == id { // its own, which the server completed
						old = wb.New(wb.AirSyncApplicationData)
						c.items[id] = old
					}
				}
				if old == nil {
					return nil, fmt.Errorf("Sync: change of unknown item %s", id)
				}
				for _, n := range data.Children {
					i := slices.IndexFunc(old.Children, func(o *wb.Node) bool { return o.Tag == n.Tag })
					if i >= 0 {
						old.Children[i] = n
					} else {
						old.Children = append(old.Children, n)
					}
				}
			case wb.AirSyncDelete, wb.AirSyncSoftDelete:
				c.gone++
				delete(c.items, id)
			}
		}
	}
	return col.Child(wb.AirSyncResponses), nil
}

// drain syncs until nothing is left.
func (c *collection) drain(ctx context.Context) error {
	if c.key == "0" {
		if _, err := c.sync(ctx); err != nil {
			return err
		}
	}
	for range 10_000 {
		if _, err := c.sync(ctx); err != nil {
			return err
		}
		if !c.more {
			return nil
		}
	}
	return fmt.Errorf("Sync of %s never ends", c.id)
}

// find gives the id of the item whose subject contains text.
func (c *collection) find(text string) string {
	for id, d := range c.items {
		if strings.Contains(d.Get(wb.EmailSubject), text) {
			return id
		}
	}
	return ""
}

// ping holds a request until one of the folders changes; it gives the status.
func (p *phone) ping(ctx context.Context, heartbeat time.Duration, folders ...string) (string, error) {
	list := wb.New(wb.PingFolders)
	for _, f := range folders {
		list.Add(wb.New(wb.PingFolder, wb.NewText(wb.PingId, f), wb.NewText(wb.PingClass, "Email")))
	}
	ans, err := p.do(ctx, "Ping", wb.New(wb.PingPing, wb.NewText(wb.PingHeartbeatInterval, strconv.Itoa(int(heartbeat.Seconds()))), list))
	if err != nil {
		return "", err
	}
	return ans.Get(wb.PingStatus), nil
}

// send sends a message; the same clientID is the same message.
func (p *phone) send(ctx context.Context, clientID string, mime []byte) error {
	if p.version == "2.5" || p.version == "12.1" {
		status, _, b, err := p.raw(ctx, "SendMail", "message/rfc822", bytes.NewReader(mime), url.Values{"SaveInSent": {"T"}})
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("SendMail: HTTP %d %s", status, b)
		}
		return err
	}
	ans, err := p.do(ctx, "SendMail", wb.New(wb.ComposeMailSendMail, wb.NewText(wb.ComposeMailClientId, clientID),
		wb.New(wb.ComposeMailSaveInSentItems), wb.NewBytes(wb.ComposeMailMime, mime)))
	if err != nil {
		return err
	}
	if ans != nil {
		return fmt.Errorf("SendMail: status %s", ans.Get(wb.ComposeMailStatus))
	}
	return nil
}
