// Package signin holds the pages of sign-in: templates, styles, fonts and the one
// script, for services/signin to serve.
package signin

import "embed"

// Files are templates/*.html and static/.
//
//go:embed templates static
var Files embed.FS
