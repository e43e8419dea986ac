package eas

import (
	"fmt"
	"net/http"

	"waypost/internal/fault"
)

// The common Status values (MS-ASCMD 2.2.2), which any command may answer in
// its root element from 14.0 on.
const (
	StatusInvalidContent                                  = 101 // body unusable: wrong Content-Type or length or missing body
	StatusInvalidWBXML                                    = 102 // WBXML does not decode
	StatusInvalidXML                                      = 103 // decoded XML breaks the command's schema (unknown child / wrong order / too many elements)
	StatusInvalidDateTime                                 = 104 // unparsable timestamp (InstanceId etc.)
	StatusInvalidCombinationOfIDs                         = 105 // ids that may not be combined
	StatusInvalidIDs                                      = 106 // id string not parsable (not the same as id unknown)
	StatusInvalidMIME                                     = 107 // MIME not parsable
	StatusDeviceIDMissing                                 = 108
	StatusDeviceTypeMissing                               = 109
	StatusServerError                                     = 110 // do not retry
	StatusServerErrorRetryLater                           = 111 // retry later
	StatusActiveDirectoryAccessDenied                     = 112 // server lacks rights on the directory object
	StatusMailboxQuotaExceeded                            = 113
	StatusMailboxServerOffline                            = 114
	StatusSendQuotaExceeded                               = 115
	StatusMessageRecipientUnresolved                      = 116
	StatusMessageReplyNotAllowed                          = 117 // SmartReply refused
	StatusMessagePreviouslySent                           = 118 // ClientId seen recently: duplicate send
	StatusMessageHasNoRecipient                           = 119
	StatusMailSubmissionFailed                            = 120
	StatusMessageReplyFailed                              = 121
	StatusAttachmentIsTooLarge                            = 122
	StatusUserHasNoMailbox                                = 123
	StatusUserCannotBeAnonymous                           = 124
	StatusUserPrincipalCouldNotBeFound                    = 125
	StatusUserDisabledForSync                             = 126
	StatusUserOnNewMailboxCannotSync                      = 127
	StatusUserOnLegacyMailboxCannotSync                   = 128
	StatusDeviceIsBlockedForThisUser                      = 129 // device blocked or not in the user's allow list
	StatusAccessDenied                                    = 130
	StatusAccountDisabled                                 = 131
	StatusSyncStateNotFound                               = 132 // state vanished; next request will get a key error
	StatusSyncStateLocked                                 = 133 // mailbox being moved
	StatusSyncStateCorrupt                                = 134
	StatusSyncStateAlreadyExists                          = 135 // two first syncs at once
	StatusSyncStateVersionInvalid                         = 136
	StatusCommandNotSupported                             = 137
	StatusVersionNotSupported                             = 138 // command not valid in this protocol version
	StatusDeviceNotFullyProvisionable                     = 139 // version cannot carry every policy set; administrator needed
	StatusRemoteWipeRequested                             = 140 // client must run Provision
	StatusLegacyDeviceOnStrictPolicy                      = 141 // no key submitted and non-provisionable devices not allowed
	StatusDeviceNotProvisioned                            = 142 // client must run Provision
	StatusPolicyRefresh                                   = 143 // key expired by refresh interval
	StatusInvalidPolicyKey                                = 144 // key differs (policy changed)
	StatusExternallyManagedDevicesNotAllowed              = 145 // client acknowledged with policy status 4
	StatusNoRecurrenceInCalendar                          = 146 // InstanceId on a non-recurring item
	StatusUnexpectedItemClass                             = 147
	StatusRemoteServerHasNoSSL                            = 148 // proxying refused
	StatusInvalidStoredRequest                            = 149 // cached request unusable: send the full one
	StatusItemNotFound                                    = 150 // SmartReply/SmartForward source missing
	StatusTooManyFolders                                  = 151 // default limit 1000
	StatusNoFoldersFound                                  = 152
	StatusItemsLostAfterMove                              = 153
	StatusFailureInMoveOperation                          = 154
	StatusMoveCommandDisallowedForNonPersistentMoveAction = 155 // ItemOperations Move without MoveAlways
	StatusMoveCommandInvalidDestinationFolder             = 156 // conversation move target must be a mail folder
	StatusAvailabilityTooManyRecipients                   = 160
	StatusAvailabilityDLLimitReached                      = 161 // distribution list >20 members
	StatusAvailabilityTransientFailure                    = 162 // retry
	StatusAvailabilityFailure                             = 163 // do not retry
	StatusBodyPartPreferenceTypeNotSupported              = 164
	StatusDeviceInformationRequired                       = 165 // first Provision lacked settings:DeviceInformation
	StatusInvalidAccountId                                = 166
	StatusAccountSendDisabled                             = 167
	StatusIRMFeatureDisabled                              = 168
	StatusIRMTransientError                               = 169
	StatusIRMPermanentError                               = 170
	StatusIRMInvalidTemplateID                            = 171
	StatusIRMOperationNotPermitted                        = 172
	StatusNoPicture                                       = 173
	StatusPictureTooLarge                                 = 174
	StatusPictureLimitReached                             = 175
	StatusBodyPartConversationTooLarge                    = 176 // ask again without body parts
	StatusMaximumDevicesReached                           = 177 // too many partnerships for the user
	StatusInvalidMimeBodyCombination                      = 178 // draft: MIME body together with forbidden elements
	StatusInvalidSmartForwardParameters                   = 179 // Forwardees or Body not parsable
	StatusInvalidRecipients                               = 183 // draft send without valid recipients
	StatusOneOrMoreExceptionsFailed                       = 184 // item level: some exceptions of an added series failed
)

// httpCodes has the HTTP code that stands for a common Status before 14.0
// (MS-ASCMD 2.2.2; by analogy where it says none). 449 is ActiveSync's own:
// retry after sending Provision (MS-ASHTTP 2.2.2.1.1).
var httpCodes = map[int]int{
	StatusInvalidContent:                                  400,
	StatusInvalidWBXML:                                    400,
	StatusInvalidXML:                                      400,
	StatusInvalidDateTime:                                 400,
	StatusInvalidCombinationOfIDs:                         400,
	StatusInvalidIDs:                                      400,
	StatusInvalidMIME:                                     400,
	StatusDeviceIDMissing:                                 400,
	StatusDeviceTypeMissing:                               400,
	StatusServerError:                                     500,
	StatusServerErrorRetryLater:                           503,
	StatusActiveDirectoryAccessDenied:                     403,
	StatusMailboxQuotaExceeded:                            507,
	StatusMailboxServerOffline:                            503,
	StatusSendQuotaExceeded:                               507,
	StatusMessageRecipientUnresolved:                      400,
	StatusMessageReplyNotAllowed:                          400,
	StatusMessagePreviouslySent:                           200,
	StatusMessageHasNoRecipient:                           400,
	StatusMailSubmissionFailed:                            500,
	StatusMessageReplyFailed:                              500,
	StatusAttachmentIsTooLarge:                            400,
	StatusUserHasNoMailbox:                                403,
	StatusUserCannotBeAnonymous:                           401,
	StatusUserPrincipalCouldNotBeFound:                    403,
	StatusUserDisabledForSync:                             403,
	StatusUserOnNewMailboxCannotSync:                      403,
	StatusUserOnLegacyMailboxCannotSync:                   403,
	StatusDeviceIsBlockedForThisUser:                      403,
	StatusAccessDenied:                                    403,
	StatusAccountDisabled:                                 403,
	StatusSyncStateNotFound:                               403,
	StatusSyncStateLocked:                                 403,
	StatusSyncStateCorrupt:                                403,
	StatusSyncStateAlreadyExists:                          403,
	StatusSyncStateVersionInvalid:                         403,
	StatusCommandNotSupported:                             501,
	StatusVersionNotSupported:                             400,
	StatusDeviceNotFullyProvisionable:                     403,
	StatusRemoteWipeRequested:                             449,
	StatusLegacyDeviceOnStrictPolicy:                      449,
	StatusDeviceNotProvisioned:                            449,
	StatusPolicyRefresh:                                   449,
	StatusInvalidPolicyKey:                                449,
	StatusExternallyManagedDevicesNotAllowed:              403,
	StatusNoRecurrenceInCalendar:                          400,
	StatusUnexpectedItemClass:                             400,
	StatusRemoteServerHasNoSSL:                            500,
	StatusInvalidStoredRequest:                            400,
	StatusItemNotFound:                                    400,
	StatusTooManyFolders:                                  400,
	StatusNoFoldersFound:                                  400,
	StatusItemsLostAfterMove:                              500,
	StatusFailureInMoveOperation:                          500,
	StatusMoveCommandDisallowedForNonPersistentMoveAction: 400,
	StatusMoveCommandInvalidDestinationFolder:             400,
	StatusAvailabilityTooManyRecipients:                   400,
	StatusAvailabilityDLLimitReached:                      400,
	StatusAvailabilityTransientFailure:                    503,
	StatusAvailabilityFailure:                             500,
	StatusBodyPartPreferenceTypeNotSupported:              400,
	StatusDeviceInformationRequired:                       400,
	StatusInvalidAccountId:                                403,
	StatusAccountSendDisabled:                             403,
	StatusIRMFeatureDisabled:                              403,
	StatusIRMTransientError:                               503,
	StatusIRMPermanentError:                               403,
	StatusIRMInvalidTemplateID:                            403,
	StatusIRMOperationNotPermitted:                        403,
	StatusNoPicture:                                       400,
	StatusPictureTooLarge:                                 400,
	StatusPictureLimitReached:                             400,
	StatusBodyPartConversationTooLarge:                    400,
	StatusMaximumDevicesReached:                           403,
	StatusInvalidMimeBodyCombination:                      400,
	StatusInvalidSmartForwardParameters:                   400,
	StatusInvalidRecipients:                               400,
	StatusOneOrMoreExceptionsFailed:                       400,
}

// faults has, for each kind of fault that a command does not answer in terms
// of its own, the common Status and the HTTP code before 14.0.
var faults = map[fault.Kind]struct{ status, code int }{
	fault.Internal:        {StatusServerError, http.StatusInternalServerError},
	fault.Invalid:         {StatusInvalidXML, http.StatusBadRequest},
	fault.Unauthenticated: {StatusUserCannotBeAnonymous, http.StatusUnauthorized},
	fault.Denied:          {StatusAccessDenied, http.StatusForbidden},
	fault.NotFound:        {StatusItemNotFound, http.StatusBadRequest},
	fault.Exists:          {StatusServerError, http.StatusInternalServerError},
	fault.Conflict:        {StatusServerErrorRetryLater, http.StatusServiceUnavailable},
	fault.OverQuota:       {StatusMailboxQuotaExceeded, http.StatusInsufficientStorage},
	fault.TooLarge:        {StatusInvalidContent, http.StatusRequestEntityTooLarge},
	fault.Limit:           {StatusServerErrorRetryLater, http.StatusServiceUnavailable},
	fault.Resync:          {StatusSyncStateNotFound, http.StatusForbidden},
	fault.Unavailable:     {StatusServerErrorRetryLater, http.StatusServiceUnavailable},
}

// statusError is a refusal with a common Status. It is the answer, not a
// failure of ours.
type statusError struct {
	status int
	err    error // why, for the log; may be nil
}

func (e statusError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("status %d", e.status)
	}
	return fmt.Sprintf("status %d: %v", e.status, e.err)
}

func (e statusError) Unwrap() error { return e.err }

// status is the error that answers with a common Status.
func status(n int) error { return statusError{status: n} }

// statusFor is status with a cause for the log; nil if there is no cause.
func statusFor(n int, err error) error {
	if err == nil {
		return nil
	}
	return statusError{status: n, err: err}
}

// httpError is a refusal with an HTTP code, whatever the version.
type httpError struct{ code int }

func (e httpError) Error() string { return fmt.Sprintf("http %d", e.code) }
