package jmap

import (
	"context"
	"slices"
)

// method is what a client may call.
type method struct {
	capability string
	run        func(ctx context.Context, c *call) error
	args       []string // besides accountId
	free       bool     // of an account, and of rules for arguments
}

var (
	getArgs     = []string{"ids", "properties"}
	changesArgs = []string{"sinceState", "maxChanges"}
	setArgs     = []string{"ifInState", "create", "update", "destroy"}
	queryArgs   = []string{"filter", "sort", "position", "anchor", "anchorOffset", "limit", "calculateTotal"}
	againArgs   = []string{"filter", "sort", "sinceQueryState", "maxChanges", "upToId", "calculateTotal"}
	viewArgs    = []string{"bodyProperties", "fetchTextBodyValues", "fetchHTMLBodyValues", "fetchAllBodyValues", "maxBodyValueBytes"}
)

// methods are all that there are. (It is made at start, for some methods call others.)
var methods map[string]method

func init() {
	methods = map[string]method{
		"Core/echo": {capability: capCore, free: true, run: func(_ context.Context, c *call) error { return c.respond(c.name, c.args) }},

		"Mailbox/get":          {capMail, mailboxes.get, getArgs, false},
		"Mailbox/changes":      {capMail, mailboxes.getChanges, changesArgs, false},
		"Mailbox/query":        {capMail, mailboxes.query, with(queryArgs, "sortAsTree", "filterAsTree"), false},
		"Mailbox/queryChanges": {capMail, mailboxes.queryChanges, with(againArgs, "sortAsTree", "filterAsTree"), false},
		"Mailbox/set":          {capMail, mailboxes.set, with(setArgs, "onDestroyRemoveEmails"), false},

		"Thread/get":     {capMail, threads.get, getArgs, false},
		"Thread/changes": {capMail, threads.getChanges, changesArgs, false},

		"Email/get":          {capMail, emails.get, with(getArgs, viewArgs...), false},
		"Email/changes":      {capMail, emails.getChanges, changesArgs, false},
		"Email/query":        {capMail, queryEmails, with(queryArgs, "collapseThreads"), false},
		"Email/queryChanges": {capMail, queryEmailChanges, with(againArgs, "collapseThreads"), false},
		"Email/set":          {capMail, emails.set, setArgs, false},
		"Email/copy":         {capMail, copyEmails, []string{"fromAccountId", "ifFromInState", "ifInState", "create", "onSuccessDestroyOriginal", "destroyFromIfInState"}, false},
		"Email/import":       {capMail, importEmails, []string{"ifInState", "emails"}, false},
		"Email/parse":        {capMail, parseEmails, with(viewArgs, "blobIds", "properties"), false},

		"SearchSnippet/get": {capMail, getSnippets, []string{"filter", "emailIds"}, false},

		"Identity/get":     {capSubmission, identities.get, getArgs, false},
		"Identity/changes": {capSubmission, identities.getChanges, changesArgs, false},
		"Identity/set":     {capSubmission, identities.set, setArgs, false},

		"EmailSubmission/get":          {capSubmission, submissions.get, getArgs, false},
		"EmailSubmission/changes":      {capSubmission, submissions.getChanges, changesArgs, false},
		"EmailSubmission/query":        {capSubmission, submissions.query, queryArgs, false},
		"EmailSubmission/queryChanges": {capSubmission, submissions.queryChanges, againArgs, false},
		"EmailSubmission/set":          {capSubmission, setSubmissions, with(setArgs, "onSuccessUpdateEmail", "onSuccessDestroyEmail"), false},

		"VacationResponse/get": {capVacation, vacation.get, getArgs, false},
		"VacationResponse/set": {capVacation, vacation.set, setArgs, false},

		"Blob/copy":   {capCore, copyBlobs, []string{"fromAccountId", "blobIds"}, false},
		"Blob/get":    {capBlob, getBlobs, []string{"ids", "properties", "offset", "length"}, false},
		"Blob/lookup": {capBlob, lookupBlobs, []string{"typeNames", "ids"}, false},
		"Blob/upload": {capBlob, uploadBlobs, []string{"create"}, false},
	}
}

func with(args []string, more ...string) []string { return slices.Concat(args, more) }
