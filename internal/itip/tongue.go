package itip

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"waypost/internal/recur"
)

// tongue is a language's words for mail about meetings. In its texts {who}, {n},
// {days} and the like stand for what is put there.
type tongue struct {
	rightToLeft bool

	untitled string
	// Subjects by kind; an answer's by its status. {title} stands in them.
	subjects map[Kind]string
	answers  map[string]string // "" is any other answer
	// Sentences by kind, and of answers by status.
	says    map[Kind]string
	replies map[string]string
	taken   string // taken off the list
	sentBy  string

	what, when, where, who string

	day                     string // a date: {weekday} {d} {month} {m} {y}
	date                    string // likewise, without a weekday
	weekdays                [7]string
	months                  [12]string
	to, allDay              string // {from} {to}; {days}
	repeating               string
	each                    map[recur.Freq][2]string // every one; every {n}
	onDays, times, untilDay string                   // what follows a rule
	comma                   string
}

// tongues are the languages that there are, by BCP 47's primary subtag. A new one
// is a row here; a test finds what is missing in it.
var tongues = map[string]*tongue{
	"en": {
		untitled: "(no title)",
		subjects: map[Kind]string{Invitation: "{title}", Update: "Updated: {title}", Cancellation: "Cancelled: {title}", Proposal: "New time proposed: {title}", ProposalDeclined: "Proposed time declined: {title}", Question: "{title}"},
		answers:  map[string]string{Accepted: "Accepted: {title}", Declined: "Declined: {title}", Tentative: "Tentative: {title}", "": "Answer: {title}"},
		says:     map[Kind]string{Invitation: "{who} invites you.", Update: "{who} has changed the meeting.", Cancellation: "{who} has cancelled the meeting.", Proposal: "{who} proposes another time.", ProposalDeclined: "{who} keeps the time of the meeting.", Question: "{who} asks for the newest version of the meeting."},
		replies:  map[string]string{Accepted: "{who} accepts.", Declined: "{who} declines.", Tentative: "{who} comes perhaps.", Delegated: "{who} sends somebody else.", "": "{who} has answered."},
		taken:    "{who} has taken you off the list of those invited.", sentBy: " (Sent by {who}.)",
		what: "What", when: "When", where: "Where", who: "Who",
		day: "{weekday}, {d} {month} {y}", date: "{d} {month} {y}",
		weekdays: [7]string{"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"},
		months:   [12]string{"January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"},
		to:       "{from} to {to}", allDay: "{days} (all day)", repeating: "repeating",
		each:   map[recur.Freq][2]string{recur.Yearly: {"every year", "every {n} years"}, recur.Monthly: {"every month", "every {n} months"}, recur.Weekly: {"every week", "every {n} weeks"}, recur.Daily: {"every day", "every {n} days"}},
		onDays: " on {days}", times: ", {n} times", untilDay: " until {day}", comma: ", ",
	},
	"de": {
		untitled: "(ohne Titel)",
		subjects: map[Kind]string{Invitation: "{title}", Update: "Geändert: {title}", Cancellation: "Abgesagt: {title}", Proposal: "Anderer Termin vorgeschlagen: {title}", ProposalDeclined: "Terminvorschlag abgelehnt: {title}", Question: "{title}"},
		answers:  map[string]string{Accepted: "Zugesagt: {title}", Declined: "Abgelehnt: {title}", Tentative: "Mit Vorbehalt: {title}", "": "Antwort: {title}"},
		says:     map[Kind]string{Invitation: "{who} lädt Sie ein.", Update: "{who} hat die Besprechung geändert.", Cancellation: "{who} hat die Besprechung abgesagt.", Proposal: "{who} schlägt einen anderen Termin vor.", ProposalDeclined: "{who} bleibt beim Termin der Besprechung.", Question: "{who} bittet um die neueste Fassung der Besprechung."},
		replies:  map[string]string{Accepted: "{who} sagt zu.", Declined: "{who} sagt ab.", Tentative: "{who} kommt vielleicht.", Delegated: "{who} schickt jemand anderen.", "": "{who} hat geantwortet."},
		taken:    "{who} hat Sie von der Liste der Eingeladenen genommen.", sentBy: " (Gesendet von {who}.)",
		what: "Was", when: "Wann", where: "Wo", who: "Wer",
		day: "{weekday}, {d}. {month} {y}", date: "{d}. {month} {y}",
		weekdays: [7]string{"Sonntag", "Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag"},
		months:   [12]string{"Januar", "Februar", "März", "April", "Mai", "Juni", "Juli", "August", "September", "Oktober", "November", "Dezember"},
		to:       "{from} bis {to}", allDay: "{days} (ganztägig)", repeating: "wiederholt",
		each:   map[recur.Freq][2]string{recur.Yearly: {"jedes Jahr", "alle {n} Jahre"}, recur.Monthly: {"jeden Monat", "alle {n} Monate"}, recur.Weekly: {"jede Woche", "alle {n} Wochen"}, recur.Daily: {"jeden Tag", "alle {n} Tage"}},
		onDays: " am {days}", times: ", {n}-mal", untilDay: " bis {day}", comma: ", ",
	},
	"fr": {
		untitled: "(sans titre)",
		subjects: map[Kind]string{Invitation: "{title}", Update: "Modifié : {title}", Cancellation: "Annulé : {title}", Proposal: "Nouvel horaire proposé : {title}", ProposalDeclined: "Horaire proposé refusé : {title}", Question: "{title}"},
		answers:  map[string]string{Accepted: "Accepté : {title}", Declined: "Refusé : {title}", Tentative: "Provisoire : {title}", "": "Réponse : {title}"},
		says:     map[Kind]string{Invitation: "{who} vous invite.", Update: "{who} a modifié la réunion.", Cancellation: "{who} a annulé la réunion.", Proposal: "{who} propose un autre horaire.", ProposalDeclined: "{who} maintient l’horaire de la réunion.", Question: "{who} demande la dernière version de la réunion."},
		replies:  map[string]string{Accepted: "{who} accepte.", Declined: "{who} refuse.", Tentative: "{who} viendra peut-être.", Delegated: "{who} envoie quelqu’un d’autre.", "": "{who} a répondu."},
		taken:    "{who} vous a retiré de la liste des invités.", sentBy: " (Envoyé par {who}.)",
		what: "Quoi", when: "Quand", where: "Où", who: "Qui",
		day: "{weekday} {d} {month} {y}", date: "{d} {month} {y}",
		weekdays: [7]string{"dimanche", "lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi"},
		months:   [12]string{"janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre", "octobre", "novembre", "décembre"},
		to:       "{from} à {to}", allDay: "{days} (toute la journée)", repeating: "périodique",
		each:   map[recur.Freq][2]string{recur.Yearly: {"chaque année", "tous les {n} ans"}, recur.Monthly: {"chaque mois", "tous les {n} mois"}, recur.Weekly: {"chaque semaine", "toutes les {n} semaines"}, recur.Daily: {"chaque jour", "tous les {n} jours"}},
		onDays: " le {days}", times: ", {n} fois", untilDay: " jusqu’au {day}", comma: ", ",
	},
	"es": {
		untitled: "(sin título)",
		subjects: map[Kind]string{Invitation: "{title}", Update: "Modificada: {title}", Cancellation: "Cancelada: {title}", Proposal: "Nueva hora propuesta: {title}", ProposalDeclined: "Hora propuesta rechazada: {title}", Question: "{title}"},
		answers:  map[string]string{Accepted: "Aceptada: {title}", Declined: "Rechazada: {title}", Tentative: "Provisional: {title}", "": "Respuesta: {title}"},
		says:     map[Kind]string{Invitation: "{who} le invita.", Update: "{who} ha modificado la reunión.", Cancellation: "{who} ha cancelado la reunión.", Proposal: "{who} propone otra hora.", ProposalDeclined: "{who} mantiene la hora de la reunión.", Question: "{who} pide la última versión de la reunión."},
		replies:  map[string]string{Accepted: "{who} acepta.", Declined: "{who} rechaza.", Tentative: "{who} quizá venga.", Delegated: "{who} envía a otra persona.", "": "{who} ha respondido."},
		taken:    "{who} le ha quitado de la lista de invitados.", sentBy: " (Enviado por {who}.)",
		what: "Qué", when: "Cuándo", where: "Dónde", who: "Quién",
		day: "{weekday}, {d} de {month} de {y}", date: "{d} de {month} de {y}",
		weekdays: [7]string{"domingo", "lunes", "martes", "miércoles", "jueves", "viernes", "sábado"},
		months:   [12]string{"enero", "febrero", "marzo", "abril", "mayo", "junio", "julio", "agosto", "septiembre", "octubre", "noviembre", "diciembre"},
		to:       "{from} a {to}", allDay: "{days} (todo el día)", repeating: "periódica",
		each:   map[recur.Freq][2]string{recur.Yearly: {"cada año", "cada {n} años"}, recur.Monthly: {"cada mes", "cada {n} meses"}, recur.Weekly: {"cada semana", "cada {n} semanas"}, recur.Daily: {"cada día", "cada {n} días"}},
		onDays: " el {days}", times: ", {n} veces", untilDay: " hasta el {day}", comma: ", ",
	},
	"ja": {
		untitled: "（無題）",
		subjects: map[Kind]string{Invitation: "{title}", Update: "更新: {title}", Cancellation: "キャンセル: {title}", Proposal: "別の日時の提案: {title}", ProposalDeclined: "提案された日時の辞退: {title}", Question: "{title}"},
		answers:  map[string]string{Accepted: "承諾: {title}", Declined: "辞退: {title}", Tentative: "仮承諾: {title}", "": "返信: {title}"},
		says:     map[Kind]string{Invitation: "{who}さんから招待されました。", Update: "{who}さんが会議を変更しました。", Cancellation: "{who}さんが会議をキャンセルしました。", Proposal: "{who}さんが別の日時を提案しています。", ProposalDeclined: "{who}さんは会議の日時を変更しません。", Question: "{who}さんが会議の最新の内容を求めています。"},
		replies:  map[string]string{Accepted: "{who}さんは出席します。", Declined: "{who}さんは欠席します。", Tentative: "{who}さんは出席するかもしれません。", Delegated: "{who}さんの代わりに別の人が出席します。", "": "{who}さんが返信しました。"},
		taken:    "{who}さんがあなたを招待者から外しました。", sentBy: "（送信者: {who}）",
		what: "件名", when: "日時", where: "場所", who: "出席者",
		day: "{y}年{m}月{d}日 ({weekday})", date: "{y}年{m}月{d}日",
		weekdays: [7]string{"日曜日", "月曜日", "火曜日", "水曜日", "木曜日", "金曜日", "土曜日"},
		months:   [12]string{"1月", "2月", "3月", "4月", "5月", "6月", "7月", "8月", "9月", "10月", "11月", "12月"},
		to:       "{from} ～ {to}", allDay: "{days} (終日)", repeating: "定期的",
		each:   map[recur.Freq][2]string{recur.Yearly: {"毎年", "{n}年ごと"}, recur.Monthly: {"毎月", "{n}か月ごと"}, recur.Weekly: {"毎週", "{n}週間ごと"}, recur.Daily: {"毎日", "{n}日ごと"}},
		onDays: " {days}", times: "、{n}回", untilDay: "、{day}まで", comma: "、",
	},
	"ar": {
		rightToLeft: true,
		untitled:    "(بلا عنوان)",
		subjects:    map[Kind]string{Invitation: "{title}", Update: "تم التحديث: {title}", Cancellation: "تم الإلغاء: {title}", Proposal: "اقتراح موعد آخر: {title}", ProposalDeclined: "رفض الموعد المقترح: {title}", Question: "{title}"},
		answers:     map[string]string{Accepted: "مقبول: {title}", Declined: "مرفوض: {title}", Tentative: "مبدئي: {title}", "": "رد: {title}"},
		says:        map[Kind]string{Invitation: "دعوة من {who}.", Update: "تم تغيير الاجتماع من قبل {who}.", Cancellation: "تم إلغاء الاجتماع من قبل {who}.", Proposal: "موعد آخر مقترح من {who}.", ProposalDeclined: "تم الإبقاء على موعد الاجتماع من قبل {who}.", Question: "طلب أحدث نسخة من الاجتماع من {who}."},
		replies:     map[string]string{Accepted: "قبول من {who}.", Declined: "اعتذار من {who}.", Tentative: "قبول مبدئي من {who}.", Delegated: "شخص آخر سيحضر بدلاً من {who}.", "": "رد من {who}."},
		taken:       "تمت إزالتك من قائمة المدعوين من قبل {who}.", sentBy: " (أرسله {who}.)",
		what: "الموضوع", when: "الموعد", where: "المكان", who: "المدعوون",
		day: "{weekday}، {d} {month} {y}", date: "{d} {month} {y}",
		weekdays: [7]string{"الأحد", "الاثنين", "الثلاثاء", "الأربعاء", "الخميس", "الجمعة", "السبت"},
		months:   [12]string{"يناير", "فبراير", "مارس", "أبريل", "مايو", "يونيو", "يوليو", "أغسطس", "سبتمبر", "أكتوبر", "نوفمبر", "ديسمبر"},
		to:       "{from} إلى {to}", allDay: "{days} (طوال اليوم)", repeating: "متكرر",
		each:   map[recur.Freq][2]string{recur.Yearly: {"كل سنة", "كل {n} سنوات"}, recur.Monthly: {"كل شهر", "كل {n} أشهر"}, recur.Weekly: {"كل أسبوع", "كل {n} أسابيع"}, recur.Daily: {"كل يوم", "كل {n} أيام"}},
		onDays: " يوم {days}", times: "، {n} مرات", untilDay: " حتى {day}", comma: "، ",
	},
}

// Languages are those that mail about meetings can be in.
func Languages() []string { return slices.Sorted(maps.Keys(tongues)) }

// tongueOf gives the words of a language, of "de-AT" those of "de"; English where
// there are none.
func tongueOf(language string) *tongue {
	primary, _, _ := strings.Cut(strings.ToLower(language), "-")
	if t := tongues[primary]; t != nil {
		return t
	}
	return tongues["en"]
}

// fill puts values, in pairs with their names, into a text.
func fill(text string, pairs ...string) string { return strings.NewReplacer(pairs...).Replace(text) }

func (t *tongue) on(form string, day time.Time) string {
	return fill(form, "{weekday}", t.weekdays[day.Weekday()], "{d}", fmt.Sprint(day.Day()), "{month}", t.months[day.Month()-1],
		"{m}", fmt.Sprint(int(day.Month())), "{y}", fmt.Sprint(day.Year()))
}
