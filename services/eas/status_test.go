package eas

import (
	"testing"

	"waypost/internal/fault"
)

func TestEveryFaultHasAnAnswer(t *testing.T) {
	for _, k := range fault.Kinds() {
		f, ok := faults[k]
		if !ok || f.status < 101 || f.code < 400 {
			t.Errorf("no answer for %v: %v", k, f)
		}
		if httpCodes[f.status] == 0 {
			t.Errorf("%v: status %d has no HTTP code", k, f.status)
		}
	}
}

func TestEveryStatusHasAnHTTPCode(t *testing.T) {
	for _, tt := range []struct{ status, code int }{
		{StatusInvalidContent, 400},
		{StatusServerErrorRetryLater, 503},
		{StatusMailboxQuotaExceeded, 507},
		{StatusDeviceIsBlockedForThisUser, 403},
		{StatusCommandNotSupported, 501},
		{StatusRemoteWipeRequested, 449},
		{StatusDeviceNotProvisioned, 449},
		{StatusInvalidPolicyKey, 449},
	} {
		if got := httpCodes[tt.status]; got != tt.code {
			t.Errorf("status %d is HTTP %d, want %d", tt.status, got, tt.code)
		}
	}
	if len(httpCodes) != 78 {
		t.Errorf("%d common statuses, want 78", len(httpCodes))
	}
}

func TestEveryTableIsTotal(t *testing.T) {
	for _, k := range fault.Kinds() {
		if commandFaults[k] == 0 || meetingFaults[k] == 0 || moveFaults[k] == 0 || itemFaults[k] == 0 {
			t.Errorf("%v: Sync %d, MeetingResponse %d, MoveItems %d, ItemOperations %d", k, commandFaults[k], meetingFaults[k], moveFaults[k], itemFaults[k])
		}
	}
}
