package mail

import "strings"

// MachineField tells whether a header field is written by machines for machines:
// traces, signatures and verdicts of filters. Nobody looks for their words, and there
// are more of them than of all others. The name is in any case.
func MachineField(name string) bool {
	name = strings.ToLower(name)
	switch name {
	case "received", "received-spf", "return-path", "authentication-results", "dkim-signature", "domainkey-signature",
		"thread-index", "message-id", "references", "in-reply-to", "content-type", "content-transfer-encoding", "content-id":
		return true
	}
	for _, p := range []string{"arc-", "x-ms-", "x-microsoft-", "x-forefront-", "x-google-", "x-gm-", "x-ham-", "x-spam-", "x-virus-", "x-proofpoint-", "x-barracuda-", "x-ironport-", "x-mimecast-"} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}
