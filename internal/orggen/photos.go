package orggen

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/color"
	"image/jpeg"
)

// photos are a pool of pictures, made different by a comment in each copy.
type photos struct{ pool [][]byte }

const (
	poolSize  = 64
	maxPhoto  = 102_400 // thumbnailPhoto's bound in the schema
	exactMost = 20      // photos of exactly that size
	invalid   = 5       // photos that are none
)

func (g *Generator) makePhotos() {
	if g.o.Photos == 0 {
		return
	}
	for i := range poolSize {
		r := g.rand("picture", i)
		img := image.NewRGBA(image.Rect(0, 0, 96, 96))
		skin := color.RGBA{uint8(120 + r.intn(120)), uint8(80 + r.intn(120)), uint8(60 + r.intn(120)), 255}
		back := color.RGBA{uint8(r.intn(256)), uint8(r.intn(256)), uint8(r.intn(256)), 255}
		for y := range 96 {
			for x := range 96 {
				c := back
				if dx, dy := x-48, y-44; dx*dx+dy*dy < 900 || y > 72 && dx*dx < 1000 {
					c = skin
				}
				img.SetRGBA(x, y, c)
			}
		}
		var b bytes.Buffer
		if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: 60}); err != nil {
			panic("orggen: " + err.Error()) // a buffer takes everything
		}
		g.photos.pool = append(g.photos.pool, b.Bytes())
	}
}

// photo gives the picture of a person, "" for most. The first ones of all are
// the special ones.
func (g *Generator) photo(i int) string {
	if g.o.Photos == 0 {
		return ""
	}
	r := g.rand("photo", i)
	if !r.chance(g.o.Photos) {
		return ""
	}
	size := min(r.lognormal(6<<10, 0.5), maxPhoto)
	if r.chance(0.02) {
		size = r.between(40<<10, 100<<10)
	}
	switch n := g.ordinal(i); {
	case n >= 100 && n < 100+exactMost:
		size = maxPhoto
	case n >= 150 && n < 150+invalid:
		return "\xff\xd8\xff\xe0 this is no picture"
	}
	return string(padded(pick(&r, g.photos.pool), size, r.next()))
}

// ordinal is the place of a person among all people: special photos are given
// by it.
func (g *Generator) ordinal(i int) int {
	n := 0
	for _, p := range g.people.person[:min(len(g.people.person), 160)] {
		if int(p) >= i {
			break
		}
		n++
	}
	return n
}

// padded is a JPEG with comments behind its first mark (ITU-T T.81 B.2.4.5), of
// the size named if that is possible.
func padded(jpg []byte, size int, seed uint64) []byte {
	b := append(make([]byte, 0, max(size, len(jpg)+12)), jpg[:2]...)
	b = comment(b, binary.BigEndian.AppendUint64(nil, seed))
	x := rng{seed}
	for {
		left := size - len(b) - (len(jpg) - 2) - 4
		if left < 0 {
			break
		}
		n := min(left, 60_000)
		if rest := left - n; rest > 0 && rest < 8 {
			n -= 8 // room for one more
		}
		text := make([]byte, n)
		for j := range text {
			text[j] = byte(x.next())
		}
		b = comment(b, text)
	}
	return append(b, jpg[2:]...)
}

func comment(b, text []byte) []byte {
	b = append(b, 0xff, 0xfe)
	b = binary.BigEndian.AppendUint16(b, uint16(len(text)+2))
	return append(b, text...)
}
