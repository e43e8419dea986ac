package jmap

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
)

// capability is a specification that the door follows.
type capability struct {
	name    string
	session object // its value in the session object
	account object // and in an account; nil when it has no methods with one
}

const (
	capCore       = "urn:ietf:params:jmap:core"
	capMail       = "urn:ietf:params:jmap:mail"
	capSubmission = "urn:ietf:params:jmap:submission"
	capVacation   = "urn:ietf:params:jmap:vacationresponse"
	capBlob       = "urn:ietf:params:jmap:blob"
)

// maxDelayedSend is how long a message may wait to be sent, in seconds.
const maxDelayedSend = 30 * 24 * 3600

var capabilities = []capability{
	{capCore, object{
		"maxSizeUpload": maxSizeUpload, "maxConcurrentUpload": maxConcurrentUpload, "maxSizeRequest": maxSizeRequest,
		"maxConcurrentRequests": maxConcurrentRequests, "maxCallsInRequest": maxCallsInRequest, "maxObjectsInGet": maxObjectsInGet,
		"maxObjectsInSet": maxObjectsInSet, "collationAlgorithms": collations,
	}, object{}},
	{capMail, object{}, object{ // RFC 8621 section 1.3.1
		"maxMailboxesPerEmail": 1, "maxMailboxDepth": 32, "maxSizeMailboxName": maxMailboxName,
		"maxSizeAttachmentsPerEmail": maxAttachments, "emailQuerySortOptions": emailSorts(), "mayCreateTopLevelMailbox": true,
	}},
	{capSubmission, object{}, object{ // section 1.3.2
		"maxDelayedSend": maxDelayedSend, "submissionExtensions": object{"FUTURERELEASE": []string{}, "SIZE": []string{}},
	}},
	{capVacation, object{}, object{}}, // section 1.3.3
	{capBlob, object{}, object{ // RFC 9404 section 3.1
		"maxSizeBlobSet": maxBlobSet, "maxDataSources": maxDataSources, "supportedTypeNames": []string{"Email"},
		"supportedDigestAlgorithms": []string{"sha", "sha-256"},
	}},
}

// sessionObject tells what there is (RFC 8620 section 2).
func (d *door) sessionObject(base string) object {
	caps, inAccount, primary := object{}, object{}, object{}
	for _, c := range capabilities {
		caps[c.name] = c.session
		inAccount[c.name] = c.account
		if c.name != capCore && d.who.Mailbox != 0 {
			primary[c.name] = account(d.who.Mailbox)
		}
	}
	accounts := object{}
	if d.who.Mailbox != 0 {
		accounts[account(d.who.Mailbox)] = object{
			"name": d.who.Address, "isPersonal": true, "isReadOnly": false, "accountCapabilities": inAccount,
		}
	}
	o := object{
		"capabilities": caps, "accounts": accounts, "primaryAccounts": primary, "username": d.who.Address,
		"apiUrl": base + Prefix + "api", "downloadUrl": base + Prefix + "download/{accountId}/{blobId}/{name}?type={type}",
		"uploadUrl":      base + Prefix + "upload/{accountId}/",
		"eventSourceUrl": base + Prefix + "eventsource?types={types}&closeafter={closeafter}&ping={ping}",
	}
	return o
}

// sessionState changes when the session object does. Where it was asked for does
// not count.
func (d *door) sessionState() string {
	data, _ := encodeJSON(d.sessionObject(""))
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:6])
}

func (d *door) session(_ context.Context, w http.ResponseWriter, r *http.Request) error {
	base := d.opt.Site
	if base == "" {
		base = "http://" + r.Host
		if d.opt.Secure(r) {
			base = "https://" + r.Host
		}
	}
	o := d.sessionObject(base)
	o["state"] = d.sessionState()
	data, err := encodeJSON(o)
	if err != nil {
		return err
	}
	return d.json(w, data)
}
