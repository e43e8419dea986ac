package eas

import (
	"context"
	"net/http"
	"strings"

	"waypost/services/eas/wbxml"
)

// bodyKind says what the request's body is.
type bodyKind int

const (
	bodyNone    bodyKind = iota // none is read
	bodyWBXML                   // a document
	bodyOrEmpty                 // a document, or nothing to repeat the last one
	bodyMail                    // before 14.0 a message (message/rfc822), since then a document
)

// command is a row of the table: one command of the protocol (MS-ASCMD 2.2.1).
type command struct {
	name         string
	code         int // in the encoded query (MS-ASHTTP 2.2.1.1.1.1.2)
	since, until wbxml.Version
	run          func(ctx context.Context, r *request) error
	open         bool // needs no policy key
	body         bodyKind
	limit        int64 // bytes of the body; 0: 1 MiB
	// root and status are the elements that a refusal is told in from 14.0 on;
	// zero where the answer is no document.
	root, status wbxml.Tag
}

func (c *command) in(v wbxml.Version) bool { return c.since <= v && v <= c.until }

const (
	smallBody = 1 << 20
	mailBody  = 151 << 20 // a message of 150 MiB and what is around it
)

// table lists the commands that exist, in the order in which they are advertised.
func (s *Server) table() []command {
	return []command{
		{
			name: "Sync", code: 0, since: wbxml.V25, until: wbxml.V161, run: s.sync, body: bodyOrEmpty, limit: mailBody,
			root: wbxml.AirSyncSync, status: wbxml.AirSyncStatus,
		},
		{
			name: "SendMail", code: 1, since: wbxml.V25, until: wbxml.V161, run: s.sendMail, body: bodyMail, limit: mailBody,
			root: wbxml.ComposeMailSendMail, status: wbxml.ComposeMailStatus,
		},
		{
			name: "SmartForward", code: 2, since: wbxml.V25, until: wbxml.V161, run: s.smartForward, body: bodyMail, limit: mailBody,
			root: wbxml.ComposeMailSmartForward, status: wbxml.ComposeMailStatus,
		},
		{
			name: "SmartReply", code: 3, since: wbxml.V25, until: wbxml.V161, run: s.smartReply, body: bodyMail, limit: mailBody,
			root: wbxml.ComposeMailSmartReply, status: wbxml.ComposeMailStatus,
		},
		{
			name: "GetAttachment", code: 4, since: wbxml.V25, until: wbxml.V121, run: s.getAttachment, body: bodyNone,
		},
		{
			name: "FolderSync", code: 9, since: wbxml.V25, until: wbxml.V161, run: s.folderSync, body: bodyWBXML,
			root: wbxml.FolderHierarchyFolderSync, status: wbxml.FolderHierarchyStatus,
		},
		{
			name: "FolderCreate", code: 10, since: wbxml.V25, until: wbxml.V161, run: s.folderCreate, body: bodyWBXML,
			root: wbxml.FolderHierarchyFolderCreate, status: wbxml.FolderHierarchyStatus,
		},
		{
			name: "FolderDelete", code: 11, since: wbxml.V25, until: wbxml.V161, run: s.folderDelete, body: bodyWBXML,
			root: wbxml.FolderHierarchyFolderDelete, status: wbxml.FolderHierarchyStatus,
		},
		{
			name: "FolderUpdate", code: 12, since: wbxml.V25, until: wbxml.V161, run: s.folderUpdate, body: bodyWBXML,
			root: wbxml.FolderHierarchyFolderUpdate, status: wbxml.FolderHierarchyStatus,
		},
		{
			name: "GetHierarchy", code: 5, since: wbxml.V25, until: wbxml.V121, run: s.getHierarchy, body: bodyNone,
		},
		{
			name: "MoveItems", code: 13, since: wbxml.V25, until: wbxml.V161, run: s.moveItems, body: bodyWBXML,
			root: wbxml.MoveMoveItems, status: wbxml.MoveStatus,
		},
		{
			name: "GetItemEstimate", code: 14, since: wbxml.V25, until: wbxml.V161, run: s.getItemEstimate, body: bodyWBXML,
			root: wbxml.GetItemEstimateGetItemEstimate, status: wbxml.GetItemEstimateStatus,
		},
		{
			name: "Search", code: 16, since: wbxml.V25, until: wbxml.V161, run: s.search, body: bodyWBXML,
			root: wbxml.SearchSearch, status: wbxml.SearchStatus,
		},
		{
			name: "Settings", code: 17, since: wbxml.V120, until: wbxml.V161, run: s.settings, body: bodyWBXML,
			root: wbxml.SettingsSettings, status: wbxml.SettingsStatus,
		},
		{
			name: "Ping", code: 18, since: wbxml.V25, until: wbxml.V161, run: s.ping, body: bodyOrEmpty,
			root: wbxml.PingPing, status: wbxml.PingStatus,
		},
		{
			name: "ItemOperations", code: 19, since: wbxml.V120, until: wbxml.V161, run: s.itemOperations, body: bodyWBXML,
			root: wbxml.ItemOperationsItemOperations, status: wbxml.ItemOperationsStatus,
		},
		{
			name: "Provision", code: 20, since: wbxml.V25, until: wbxml.V161, run: s.provision, body: bodyOrEmpty, open: true,
			root: wbxml.ProvisionProvision, status: wbxml.ProvisionStatus,
		},
		{
			name: "ResolveRecipients", code: 21, since: wbxml.V25, until: wbxml.V161, run: s.resolveRecipients, body: bodyWBXML,
			root: wbxml.ResolveRecipientsResolveRecipients, status: wbxml.ResolveRecipientsStatus,
		},
		{
			name: "MeetingResponse", code: 15, since: wbxml.V25, until: wbxml.V161, run: s.meetingResponse, body: bodyWBXML,
			root: wbxml.MeetingResponseMeetingResponse, status: wbxml.MeetingResponseStatus,
		},
	}
}

// find gives the command that a query names; nil if there is none.
func (s *Server) find(q query) *command {
	for i := range s.commands {
		c := &s.commands[i]
		if q.encoded && c.code == q.code || !q.encoded && strings.EqualFold(c.name, q.command) {
			return c
		}
	}
	return nil
}

// options tells what the door offers (MS-ASHTTP 2.2.4).
func (s *Server) options(r *request) error {
	h := r.out.header()
	s.announce(h)
	h.Set("Public", "OPTIONS,POST")
	h.Set("Allow", "OPTIONS,POST")
	return r.replyEmpty()
}

// announce sets the two lists of what is served.
func (s *Server) announce(h http.Header) {
	var versions, names []string
	for _, v := range s.opt.Versions {
		versions = append(versions, v.String())
	}
	for _, c := range s.commands {
		names = append(names, c.name)
	}
	h.Set("MS-ASProtocolVersions", strings.Join(versions, ","))
	h.Set("MS-ASProtocolCommands", strings.Join(names, ","))
}
