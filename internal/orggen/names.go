package orggen

import (
	"strings"
)

// name is how a name is written at home and in Latin letters of ASCII.
type name struct{ native, roman string }

// locale is a stock of names. The first ones are the most frequent.
type locale struct {
	code           string
	share          float64
	family         bool // the family name comes first, without a space
	given, surname []name
}

// stock reads "native=roman" or "native" words; underscores are spaces.
func stock(text string) []name {
	var list []name
	for w := range strings.FieldsSeq(text) {
		native, roman, ok := strings.Cut(w, "=")
		native = strings.ReplaceAll(native, "_", " ")
		if !ok {
			roman = latin.Replace(strings.ToLower(native))
		}
		list = append(list, name{native, strings.ToLower(roman)})
	}
	return list
}

// latin writes the letters of the stocks in ASCII. The apostrophe stays: mail
// addresses may have it (RFC 5321 §4.1.2).
var latin = strings.NewReplacer("ä", "ae", "ö", "oe", "ü", "ue", "ß", "ss", "é", "e", "è", "e", "ê", "e", "ë", "e", "á", "a", "à", "a", "â", "a",
	"ã", "a", "í", "i", "ï", "i", "î", "i", "ó", "o", "ô", "o", "õ", "o", "ú", "u", "û", "u", "ñ", "n", "ç", "c", " ", "", "’", "'")

// locales with the shares of the specification. "other" is several.
var locales = []locale{
	{"en", 55, false, stock(`John Mary James Patricia Robert Jennifer Michael Linda William Elizabeth David Barbara Richard Susan
		Joseph Jessica Thomas Sarah Charles Karen Christopher Nancy Daniel Lisa Matthew Betty Anthony Margaret Mark Sandra Donald
		Ashley Steven Kimberly Paul Emily Andrew Donna Joshua Michelle Kenneth Carol Kevin Amanda Brian Dorothy George Melissa
		Edward Deborah Ronald Stephanie Timothy Rebecca Jason Sharon Jeffrey Laura Ryan Cynthia Jacob Kathleen Gary Amy Nicholas
		Angela Eric Shirley Jonathan Anna Stephen Ruth Larry Brenda Justin Pamela Scott Nicole Brandon Katherine Mary-Ann Seán=sean
		Siobhán=siobhan Zoë=zoe Renée=renee`), stock(`Smith Johnson Williams Brown Jones Garcia Miller Davis Rodriguez Martinez
		Hernandez Lopez Gonzalez Wilson Anderson Thomas Taylor Moore Jackson Martin Lee Perez Thompson White Harris Sanchez Clark
		Ramirez Lewis Robinson Walker Young Allen King Wright Scott Torres Nguyen Hill Flores Green Adams Nelson Baker Hall Rivera
		Campbell Mitchell Carter Roberts Gomez Phillips Evans Turner Diaz Parker Cruz Edwards Collins Reyes Stewart Morris Morales
		Murphy Cook Rogers Gutierrez Ortiz Morgan Cooper Peterson Bailey Reed Kelly Howard Ramos Kim Cox Ward Richardson Watson
		Brooks Chavez Wood James Bennett Gray Mendoza Ruiz Hughes Price Alvarez Castillo Sanders Patel Myers Long Ross Foster
		O'Brien O'Connor D'Angelo McDonald MacLeod Smith-Jones Taylor-Joy Fitz-Gerald E O St._John=st.john Null Root Van_Dyke=vandyke`)},
	{"zh", 12, true, stock(`伟=wei 芳=fang 娜=na 秀英=xiuying 敏=min 静=jing 丽=li 强=qiang 磊=lei 军=jun 洋=yang 勇=yong 艳=yan 杰=jie 娟=juan 涛=tao 明=ming
		超=chao 秀兰=xiulan 霞=xia 平=ping 刚=gang 桂英=guiying 建国=jianguo 海燕=haiyan 志强=zhiqiang 晓明=xiaoming 文=wen`), stock(`王=wang 李=li 张=zhang 刘=liu 陈=chen
		杨=yang 黄=huang 赵=zhao 吴=wu 周=zhou 徐=xu 孙=sun 马=ma 朱=zhu 胡=hu 郭=guo 何=he 高=gao 林=lin 罗=luo 郑=zheng 梁=liang 谢=xie 宋=song
		唐=tang 许=xu 韩=han 冯=feng 邓=deng 曹=cao 彭=peng 曾=zeng 欧阳=ouyang 司马=sima`)},
	{"de", 6, false, stock(`Peter Michael Thomas Andreas Wolfgang Claus Jürgen Günter Ursula Monika Petra Sabine Renate Helga Karin Brigitte
		Jörg Björn Käthe Stefan Christian Anna Lena Lukas Felix Karl-Heinz Hans-Jürgen Anne-Marie`), stock(`Müller Schmidt Schneider Fischer
		Weber Meyer Wagner Becker Schulz Hoffmann Schäfer Koch Bauer Richter Klein Wolf Schröder Neumann Schwarz Zimmermann Braun Krüger
		Hofmann Hartmann Lange Weiß Jäger Köhler Größ von_Weizsäcker=vonweizsaecker Mueller zu_Guttenberg Leutheusser-Schnarrenberger`)},
	{"es", 8, false, stock(`María José Antonio Carmen Manuel Ana Francisco Isabel Juan Laura David Marta Javier Cristina Daniel Lucía Carlos Elena
		Miguel Pilar Rafael Teresa Pedro Rosa Ángel=angel Íñigo=inigo María_José Begoña`), stock(`García González Rodríguez Fernández López Martínez Sánchez
		Pérez Gómez Martín Jiménez Ruiz Hernández Díaz Moreno Muñoz Álvarez=alvarez Romero Alonso Gutiérrez Navarro Torres Domínguez
		Vázquez Ramos Gil Ramírez Serrano Ibáñez Núñez García_Márquez`)},
	{"pt", 5, false, stock(`João Maria José Ana António Francisca Carlos Paula Paulo Adriana Pedro Juliana Lucas Márcia Luís Fernanda Conceição Inês`), stock(`Silva
		Santos Oliveira Souza Rodrigues Ferreira Alves Pereira Lima Gomes Costa Ribeiro Martins Carvalho Araújo Gonçalves Conceição Magalhães
		dos_Santos da_Silva`)},
	{"ja", 4, true, stock(`太郎=taro 花子=hanako 健=ken 恵=megumi 翔太=shota 美咲=misaki 大輔=daisuke 陽子=yoko 誠=makoto 直美=naomi 拓也=takuya 愛=ai`), stock(`佐藤=sato
		鈴木=suzuki 高橋=takahashi 田中=tanaka 伊藤=ito 渡辺=watanabe 山本=yamamoto 中村=nakamura 小林=kobayashi 加藤=kato 吉田=yoshida 山田=yamada 佐々木=sasaki`)},
	{"fr", 4, false, stock(`Jean Marie Michel Françoise Pierre Monique Philippe Nathalie Alain Isabelle Nicolas Sylvie Jean-Luc Hélène Zoé Rémi Aurélie
		Anne-Sophie`), stock(`Martin Bernard Dubois Thomas Robert Richard Petit Durand Leroy Moreau Simon Laurent Lefèvre Michel Garçon d'Estaing
		L'Hôpital de_La_Tour Lévêque`)},
	{"hi", 4, false, stock(`राहुल=rahul प्रिया=priya अमित=amit सुनीता=sunita राज=raj अंजलि=anjali विजय=vijay पूजा=pooja Sanjay Deepa Arjun Kavita`), stock(`शर्मा=sharma वर्मा=verma गुप्ता=gupta
		सिंह=singh कुमार=kumar पटेल=patel Reddy Iyer Nair Mukherjee`)},
	// Right-to-left and further scripts.
	{"other", 2, false, stock(`محمد=mohammed فاطمة=fatima أحمد=ahmed דוד=david שרה=sarah משה=moshe Иван=ivan Ольга=olga Дмитрий=dmitri Γιώργος=giorgos Μαρία=maria
		Łukasz=lukasz Þór=thor Øyvind=oyvind İbrahim=ibrahim`), stock(`الفارسي=alfarsi حسن=hassan כהן=cohen לוי=levi Иванов=ivanov Смирнова=smirnova Παπαδόπουλος=papadopoulos
		Wałęsa=walesa Jónsdóttir=jonsdottir Ångström=angstrom Özdemir=oezdemir Þorvaldsdóttir=thorvaldsdottir`)},
}

// childNames are the domains below the root, the largest first.
var childNames = []string{"na", "emea", "apac", "latam", "de", "uk", "jp", "cn", "in", "fr", "br", "za", "au", "ca", "mx", "it"}

// city is a place of work.
type city struct{ name, code, country, co string }

var cities = []city{
	{"New York", "NYC", "US", "United States"},
	{"London", "LON", "GB", "United Kingdom"},
	{"Berlin", "BER", "DE", "Germany"},
	{"München", "MUC", "DE", "Germany"},
	{"Paris", "PAR", "FR", "France"},
	{"São Paulo", "SAO", "BR", "Brazil"},
	{"東京", "TYO", "JP", "Japan"},
	{"北京", "BJS", "CN", "China"},
	{"Madrid", "MAD", "ES", "Spain"},
	{"Mumbai", "BOM", "IN", "India"},
	{"Chicago", "CHI", "US", "United States"},
	{"Zürich", "ZRH", "CH", "Switzerland"},
	{"Sydney", "SYD", "AU", "Australia"},
	{"Toronto", "YTO", "CA", "Canada"},
	{"Ciudad de México", "MEX", "MX", "Mexico"},
	{"Kraków", "KRK", "PL", "Poland"},
	{"Singapore", "SIN", "SG", "Singapore"},
	{"تونس", "TUN", "TN", "Tunisia"},
	{"Dublin", "DUB", "IE", "Ireland"},
	{"Stockholm", "STO", "SE", "Sweden"},
}

var departments = []string{
	"Sales", "Marketing", "Engineering", "Research", "Finance", "Human Resources", "Legal", "IT Operations", "Logistics", "Production",
	"Quality", "Purchasing", "Customer Service", "Facilities", "Communication", "Audit", "Treasury", "Service", "Product Management", "Security",
}

var titles = []string{
	"Engineer", "Senior Engineer", "Clerk", "Assistant", "Manager", "Director", "Analyst", "Consultant", "Technician", "Specialist",
	"Team Lead", "Accountant", "Architect", "Buyer", "Trainee", "Vice President", "Administrator", "Planner",
}

// plainWord is a name of the stocks in letters, digits and hyphens.
func plainWord(s string) string {
	return strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r == ' ', r == '-':
			return '-'
		}
		return -1
	}, strings.ToLower(s)), "-")
}
