package schema

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// FormatGUID writes the 16 bytes of an objectGUID as text. LDAP's bytes have
// the first three groups in little-endian order.
func FormatGUID(g [16]byte) string {
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", binary.LittleEndian.Uint32(g[:4]),
		binary.LittleEndian.Uint16(g[4:6]), binary.LittleEndian.Uint16(g[6:8]), g[8:10], g[10:])
}

// ParseGUID reads an objectGUID: text with hyphens (braces may be around it),
// as FormatGUID writes, or 32 hexadecimal digits of the bytes as they are.
func ParseGUID(s string) (g [16]byte, ok bool) {
	s = strings.TrimSuffix(strings.TrimPrefix(s, "{"), "}")
	if len(s) == 32 {
		_, err := hex.Decode(g[:], []byte(s))
		return g, err == nil
	}
	u, ok := parseUUID(s)
	if !ok {
		return g, false
	}
	return SwapGUID(u), true
}

// SwapGUID turns LDAP's order of bytes into that of a UUID (RFC 9562, as
// PostgreSQL and entryUUID have it) and back.
func SwapGUID(g [16]byte) [16]byte {
	g[0], g[1], g[2], g[3] = g[3], g[2], g[1], g[0]
	g[4], g[5] = g[5], g[4]
	g[6], g[7] = g[7], g[6]
	return g
}

// parseUUID reads a UUID with hyphens (RFC 4530 §2.1).
func parseUUID(s string) (u [16]byte, ok bool) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return u, false
	}
	_, err := hex.Decode(u[:], []byte(s[:8]+s[9:13]+s[14:18]+s[19:23]+s[24:]))
	return u, err == nil
}

// maxSidParts is MS-DTYP 2.4.2's bound of sub-authorities.
const maxSidParts = 15

func validSid(b string) bool {
	return len(b) >= 8 && b[0] == 1 && int(b[1]) <= maxSidParts && len(b) == 8+4*int(b[1])
}

// FormatSid writes the bytes of an objectSid as text, S-1-5-21-… (MS-DTYP
// 2.4.2); "" when they are none.
func FormatSid(b string) string {
	if !validSid(b) {
		return ""
	}
	var authority uint64
	for i := 2; i < 8; i++ {
		authority = authority<<8 | uint64(b[i])
	}
	out := []byte("S-1-")
	if authority >= 1<<32 {
		out = fmt.Appendf(out, "0x%012X", authority)
	} else {
		out = strconv.AppendUint(out, authority, 10)
	}
	for i := 8; i < len(b); i += 4 {
		out = append(out, '-')
		out = strconv.AppendUint(out, uint64(binary.LittleEndian.Uint32([]byte(b[i:i+4]))), 10)
	}
	return string(out)
}

// ParseSid reads the text form of a SID into its bytes.
func ParseSid(s string) (b string, ok bool) {
	rest, ok := strings.CutPrefix(s, "S-1-")
	if !ok {
		if rest, ok = strings.CutPrefix(s, "s-1-"); !ok {
			return "", false
		}
	}
	parts := strings.Split(rest, "-")
	if len(parts)-1 > maxSidParts {
		return "", false
	}
	out := []byte{1, byte(len(parts) - 1)}
	for i, p := range parts {
		size := 32
		if i == 0 {
			size = 48
		}
		base := 10
		if i == 0 && strings.HasPrefix(strings.ToLower(p), "0x") {
			p, base = p[2:], 16
		}
		if p == "" || p[0] == '+' {
			return "", false
		}
		n, err := strconv.ParseUint(p, base, size)
		if err != nil {
			return "", false
		}
		if i == 0 {
			out = append(out, byte(n>>40), byte(n>>32), byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
		} else {
			out = binary.LittleEndian.AppendUint32(out, uint32(n))
		}
	}
	return string(out), true
}
