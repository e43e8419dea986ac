package autodiscover

import (
	"encoding/json"
	"net/http"
	"strings"
)

// json answers the second version: where a protocol's URL is. It asks for no
// sign-in, so it must not tell which addresses exist.
func (h *Handler) json(w http.ResponseWriter, r *http.Request, l *line) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		h.refuse(w, l, http.StatusMethodNotAllowed)
		return
	}
	protocol := ""
	for name, values := range r.URL.Query() {
		if strings.EqualFold(name, "Protocol") && len(values) > 0 {
			protocol = values[0]
		}
	}
	type found struct {
		Protocol string
		URL      string `json:"Url"`
	}
	type refused struct {
		ErrorCode    string
		ErrorMessage string
	}
	code := http.StatusOK
	var answer any
	switch strings.ToLower(protocol) {
	case "activesync":
		answer = found{"ActiveSync", h.activeSync(r)}
	case "autodiscoverv1":
		answer = found{"AutodiscoverV1", h.site(r) + "/autodiscover/autodiscover.xml"}
	case "":
		code, answer = http.StatusBadRequest, refused{"MandatoryParameterMissing", "A valid value must be provided for the query parameter 'Protocol'."}
	default:
		code, answer = http.StatusBadRequest, refused{
			"InvalidProtocol",
			"The given protocol value is invalid. Supported values are 'ActiveSync,AutodiscoverV1'.",
		}
	}
	b, err := json.Marshal(answer)
	if err != nil {
		l.err = err
		h.refuse(w, l, http.StatusInternalServerError)
		return
	}
	l.result = "ok"
	if code != http.StatusOK {
		l.result = "400"
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write(b) // a client that has gone asks again
}
