package serve

import (
	"io"
	"log/slog"
	"os"
	"regexp"
	"strings"

	"golang.org/x/term"
)

// Logger makes the program's log. Level is debug, info, warn or error; format
// is text, json or auto (text on a terminal). Secrets are masked by the name of
// their key, and passwords in URLs wherever they occur.
func Logger(w io.Writer, level, format string) *slog.Logger {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		l = slog.LevelInfo
	}
	o := &slog.HandlerOptions{Level: l, ReplaceAttr: mask}
	if format == "text" || format != "json" && terminal(w) {
		return slog.New(slog.NewTextHandler(w, o))
	}
	return slog.New(slog.NewJSONHandler(w, o))
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

var (
	secretKeys = []string{"password", "passwd", "secret", "token", "authorization", "cookie", "credential", "private"}
	// urlWord is the password of a URL, and libpq's password=...
	urlWord = regexp.MustCompile(`(://[^\s/:@]*:)[^\s@/]+@|(\bpassword=)('[^']*'|[^\s&]+)`)
)

const masked = "***"

func redact(s string) string {
	if !strings.Contains(s, "://") && !strings.Contains(s, "password=") {
		return s
	}
	return urlWord.ReplaceAllStringFunc(s, func(m string) string {
		if strings.HasPrefix(m, "password=") {
			return "password=" + masked
		}
		return m[:strings.IndexByte(m[3:], ':')+4] + masked + "@"
	})
}

func mask(_ []string, a slog.Attr) slog.Attr {
	key := strings.ToLower(a.Key)
	for _, s := range secretKeys {
		if strings.Contains(key, s) {
			return slog.String(a.Key, masked)
		}
	}
	switch a.Value.Kind() {
	case slog.KindString:
		if s := a.Value.String(); s != "" {
			return slog.String(a.Key, redact(s))
		}
	case slog.KindAny:
		if err, ok := a.Value.Any().(error); ok {
			return slog.String(a.Key, redact(err.Error()))
		}
	}
	return a
}
