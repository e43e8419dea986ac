package eas

import (
	"encoding/base64"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"waypost/internal/fault"
	"waypost/services/eas/wbxml"
)

func header(kv ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(kv); i += 2 {
		h.Set(kv[i], kv[i+1])
	}
	return h
}

func TestQueryForms(t *testing.T) {
	for _, tt := range []struct {
		name, raw string
		h         http.Header
		want      query
	}{
		{
			"plain", "Cmd=Sync&User=ann&DeviceId=V140Device&DeviceType=SmartPhone",
			header("MS-ASProtocolVersion", "14.1", "X-MS-PolicyKey", "3307884064", "Accept-Language", "de"),
			query{
				code: -1, command: "Sync", user: "ann", deviceID: "v140device", deviceType: "SmartPhone", version: wbxml.V141,
				policyKey: 3307884064, hasKey: true, language: "de",
			},
		},
		{
			"any order and case, escapes", "deviceid=d&SaveInSent=T&USER=a%40b&cmd=SmartReply&ItemId=7%3a1&CollectionId=5&longid=x+y&Occurrence=2026",
			header("MS-ASProtocolVersion", "2.5", "X-MS-PolicyKey", "0", "MS-ASAcceptMultiPart", "T"),
			query{
				code: -1, command: "SmartReply", user: "a@b", deviceID: "d", version: wbxml.V25, itemID: "7:1", collectionID: "5",
				longID: "x y", occurrence: "2026", saveInSent: true, multipart: true,
			},
		},
		{
			"the standard's example", "jAAJBAp2MTQwRGV2aWNlAApTbWFydFBob25l", header("X-MS-PolicyKey", "9"),
			query{encoded: true, version: wbxml.V140, code: 0, locale: 0x0409, deviceID: "v140device", deviceType: "SmartPhone"},
		},
	} {
		got, err := parseQuery(tt.raw, tt.h)
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %v\ngot  %+v\nwant %+v", tt.name, err, got, tt.want)
		}
	}
}

func TestEncodedQuery(t *testing.T) {
	raw := []byte{161, 19, 0x07, 0x04, 16}
	raw = append(raw, "\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff"...)
	raw = append(raw, 4, 0x78, 0x56, 0x34, 0x12)
	raw = append(raw, 2, 'W', 'P')
	for tag, v := range map[byte]string{0: "ref", 1: "5", 3: "7", 4: "long", 6: "2026", 7: "\x03", 8: "ann", 99: "unknown"} {
		raw = append(append(raw, tag, byte(len(v))), v...)
	}
	want := query{
		encoded: true, version: wbxml.V161, code: 19, locale: 0x0407, deviceID: "00112233445566778899aabbccddeeff", policyKey: 0x12345678,
		hasKey: true, deviceType: "WP", attachmentName: "ref", collectionID: "5", itemID: "7", longID: "long", occurrence: "2026",
		saveInSent: true, multipart: true, user: "ann",
	}
	std := base64.StdEncoding.EncodeToString(raw)
	for _, form := range []string{
		std, base64.URLEncoding.EncodeToString(raw), strings.TrimRight(std, "="),
		strings.NewReplacer("+", "%2B", "/", "%2F", "=", "%3D").Replace(std),
	} {
		got, err := parseQuery(form, http.Header{})
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v\ngot  %+v\nwant %+v", form, err, got, want)
		}
	}
	// An id in letters is the same device in both forms.
	plain, err := parseQuery("Cmd=Sync&DeviceId=00112233445566778899AABBCCDDEEFF", http.Header{})
	if err != nil || plain.deviceID != want.deviceID {
		t.Errorf("plain id %q, %v", plain.deviceID, err)
	}
	for n := range raw[:29] { // from there on only parameters are missing
		if _, err := parseQuery(base64.StdEncoding.EncodeToString(raw[:n]), http.Header{}); err == nil {
			t.Errorf("%d bytes of it were taken", n)
		}
	}
}

func TestQueryRefusals(t *testing.T) {
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	for _, tt := range []struct {
		name, raw string
		h         http.Header
		status    int // 0: Invalid without a Status
	}{
		{"nothing", "", nil, 0},
		{"neither", "Foo=Bar", nil, 0},
		{"too long", "Cmd=Sync&DeviceId=d&x=" + strings.Repeat("y", maxQuery), nil, 0},
		{"long value", "Cmd=Sync&DeviceId=d&User=" + strings.Repeat("y", maxParam+1), nil, 0},
		{"no device", "Cmd=Sync", nil, StatusDeviceIDMissing},
		{"long device", "Cmd=Sync&DeviceId=" + strings.Repeat("y", 65), nil, StatusDeviceIDMissing},
		{"device with a line break", "Cmd=Sync&DeviceId=a%0ab", nil, StatusDeviceIDMissing},
		{"long type", "Cmd=Sync&DeviceId=a&DeviceType=" + strings.Repeat("y", 65), nil, StatusDeviceTypeMissing},
		{"version", "Cmd=Sync&DeviceId=a", header("MS-ASProtocolVersion", "3.0"), StatusVersionNotSupported},
		{"key", "Cmd=Sync&DeviceId=a", header("X-MS-PolicyKey", "-1"), 0},
		{"encoded 2.5", b64("\x19\x00\x09\x04\x01a\x00\x01P"), nil, StatusVersionNotSupported},
		{"encoded 15.0", b64("\x96\x00\x09\x04\x01a\x00\x01P"), nil, StatusVersionNotSupported},
		{"encoded key of two bytes", b64("\x8c\x00\x09\x04\x01a\x02xx\x01P"), nil, 0},
		{"encoded without device", b64("\x8c\x00\x09\x04\x00\x00\x01P"), nil, StatusDeviceIDMissing},
	} {
		h := tt.h
		if h == nil {
			h = http.Header{}
		}
		_, err := parseQuery(tt.raw, h)
		switch s, ok := err.(statusError); {
		case err == nil:
			t.Errorf("%s: taken", tt.name)
		case tt.status == 0 && fault.Of(err) != fault.Invalid, tt.status != 0 && (!ok || s.status != tt.status):
			t.Errorf("%s: got %v, want status %d", tt.name, err, tt.status)
		}
	}
}

func FuzzQuery(f *testing.F) {
	f.Add("Cmd=Sync&User=ann&DeviceId=V140Device&DeviceType=SmartPhone", "14.1", "1")
	f.Add("jAAJBAp2MTQwRGV2aWNlAApTbWFydFBob25l", "", "")
	f.Add("oRMHBBAAESIzRFVmd4iZqrvM3e7/BHhWNBICV1AHAQM=", "", "")
	f.Add("Cmd=GetAttachment&AttachmentName=5%3a7%3a1&DeviceId=x", "12.1", "4294967295")
	f.Fuzz(func(t *testing.T, raw, version, key string) {
		q, err := parseQuery(raw, http.Header{"Ms-Asprotocolversion": {version}, "X-Ms-Policykey": {key}})
		if err != nil {
			return
		}
		if !validID(q.deviceID) || q.deviceID != strings.ToLower(q.deviceID) || len(q.deviceType) > maxType || len(q.longID) > maxLongID {
			t.Errorf("%q gave %+v", raw, q)
		}
		if q.hasKey != (q.policyKey != 0) || q.encoded == (q.code < 0) {
			t.Errorf("%q gave %+v", raw, q)
		}
	})
}
