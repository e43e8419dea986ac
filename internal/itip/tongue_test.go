package itip

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestTongues: no language lacks a word that English has, nor a place in it.
func TestTongues(t *testing.T) {
	en := reflect.ValueOf(*tongues["en"])
	var texts func(name string, want, got reflect.Value)
	for language, words := range tongues {
		texts = func(name string, want, got reflect.Value) {
			switch want.Kind() {
			case reflect.String:
				for _, place := range []string{"{title}", "{who}", "{from}", "{to}", "{days}", "{n}", "{day}", "{y}", "{d}"} {
					if strings.Contains(want.String(), place) != strings.Contains(got.String(), place) {
						t.Errorf("%s: %s is %q: %s", language, name, got, place)
					}
				}
				if got.String() == "" {
					t.Errorf("%s: %s is empty", language, name)
				}
			case reflect.Map:
				for _, k := range want.MapKeys() {
					if v := got.MapIndex(k); !v.IsValid() {
						t.Errorf("%s: %s lacks %v", language, name, k)
					} else {
						texts(name, want.MapIndex(k), v)
					}
				}
			case reflect.Array:
				for i := range want.Len() {
					texts(name, want.Index(i), got.Index(i))
				}
			}
		}
		got := reflect.ValueOf(*words)
		for i := range en.NumField() {
			texts(en.Type().Field(i).Name, en.Field(i), got.Field(i))
		}
	}
	for language, want := range map[string]string{"": "en", "de-AT": "de", "JA": "ja", "tlh": "en"} {
		if tongueOf(language) != tongues[want] {
			t.Errorf("%q is not %s", language, want)
		}
	}
}

// TestWords: a meeting of each language.
func TestWords(t *testing.T) {
	for language, want := range map[string]string{
		"en":    "Updated: Plan {x} / Alice has changed the meeting. / When: Monday, 11 January 2027, 10:00 to 11:00 (UTC), every 2 weeks on Monday until 1 March 2027",
		"de-CH": "Geändert: Plan {x} / Alice hat die Besprechung geändert. / Wann: Montag, 11. Januar 2027, 10:00 bis 11:00 (UTC), alle 2 Wochen am Montag bis 1. März 2027",
		"fr":    "Modifié : Plan {x} / Alice a modifié la réunion. / Quand: lundi 11 janvier 2027, 10:00 à 11:00 (UTC), toutes les 2 semaines le lundi jusqu’au 1 mars 2027",
		"ja":    "更新: Plan {x} / Aliceさんが会議を変更しました。 / 日時: 2027年1月11日 (月曜日)、10:00 ～ 11:00 (UTC)、2週間ごと 月曜日、2027年3月1日まで",
		"ar":    "تم التحديث: Plan {x} / تم تغيير الاجتماع من قبل Alice. / الموعد: الاثنين، 11 يناير 2027، 10:00 إلى 11:00 (UTC)، كل 2 أسابيع يوم الاثنين حتى 1 مارس 2027",
	} {
		in, err := ReadIncoming([]byte("BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:u\r\nDTSTART:20270111T100000Z\r\nDTEND:20270111T110000Z\r\nRRULE:FREQ=WEEKLY;INTERVAL=2;BYDAY=MO;UNTIL=20270301T100000Z\r\nSUMMARY:Plan {x}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"), "REQUEST")
		if err != nil {
			t.Fatal(err)
		}
		m := &Message{Kind: Update, Method: "REQUEST", From: Person{"alice@example.test", "Alice"}, To: []Person{{"bob@example.test", ""}}, Calendar: in.Calendar, Language: language}
		plain, page := m.words()
		list := strings.Split(plain, "\n")
		if got := m.Subject() + " / " + list[0] + " / " + list[3]; got != want {
			t.Errorf("%s:\n%s\n%s", language, got, want)
		}
		if rtl := strings.Contains(page, `dir="rtl"`); rtl != (language == "ar") {
			t.Errorf("%s: right to left %v", language, rtl)
		}
		if body := m.Mail("x", time.Unix(0, 0)); len(body) == 0 {
			t.Error("no mail")
		}
	}
}
