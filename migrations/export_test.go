package migrations

// UpFrom applies the files of a folder made by a test.
var UpFrom = up
