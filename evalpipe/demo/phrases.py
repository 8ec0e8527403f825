"""What customers and the simulated agent say, as templates: `[a|b]` is a choice, `{slot}` a value. Texts, no behaviour.

Healthy answers share their words with failing ones on purpose (refunds, vouchers, guarantees, hedges, questions for
an order number), so that a single phrase never gives a failure away.
"""
# ruff: noqa: SIM905 (a list of names reads best as names)

import re
from random import Random
from typing import NamedTuple

_CHOICE = re.compile(r"\[([^\[\]]*)\]")  # innermost first, so choices may nest


def spin(chance: Random, template: str, **slots: object) -> str:
    """`template` with every choice taken and every slot filled."""
    while "[" in template:
        template = _CHOICE.sub(lambda match: chance.choice(match[1].split("|")), template)
    return template.format(**slots)


WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December".split(
    "|"
)  # not strftime: a locale must not change the bytes

FIRST_NAMES = (
    "Amara Anders Beatriz Chen Dagny Elif Farid Giulia Hanna Ibrahim Jonas Katarzyna Lars Mei Nadia Olu Priya Quentin "
    "Rosa Søren Tomasz Uma Viktor Wanjiru Xavier Yuki Zoë Émile"
).split()
STREETS = "Linden Mill Harbour Station Market Church Garden Hill Meadow Canal Rose Bridge".split()
CITIES = (
    "Aarhus Bologna Brno Cork Dresden Eindhoven Gdańsk Ghent Graz Leeds Lille Lisbon Lyon Malmö Nantes Porto Riga "
    "Seville Tampere Turin Utrecht Valencia Vilnius Zagreb"
).split()
PRODUCTS = (
    "rain jacket|desk lamp|espresso grinder|running shoes|wool blanket|travel backpack|wireless headphones|yoga mat|"
    "chef's knife|bike helmet|linen shirt|air purifier|board game|phone case|ceramic teapot|hiking poles|"
    "standing desk|mechanical keyboard|baby carrier|camping stove|sunglasses|electric kettle|leather wallet|bookshelf"
).split("|")
CARRIERS = ("PostNord", "DHL", "DPD", "GLS", "UPS")
PAYMENTS = ("Visa card", "Mastercard", "PayPal account", "bank account", "gift card balance")
TEAMS = ("logistics", "billing", "returns", "warranty", "accounts")

GREETINGS = ("", "", "", "Hi, ", "Hello, ", "Hey there, ", "Good morning, ", "Good evening. ", "Hi team, ")
ORDER_MENTIONS = ("order {id}", "my order {id}", "order number {id}", "#{id}", "order no. {id}", "{id}")
ASIDES = (
    "[It was|This was meant as] a [birthday|wedding|farewell] present for my [sister|father|colleague|neighbour].",
    "I am [travelling|moving|away] from {weekday} on, so it is a bit urgent.",
    "[I've been a customer for years|I order from you quite often] and this never happened before.",
    "[My partner|My flatmate|My daughter] placed it from my account.",
    "I [could not find|didn't see] this in the app.",
    "[I'm in {city} at the moment.|I live just outside {city}.]",
    "No rush, but I'd [like|love] to [know|have it sorted] by {weekday}.",
    "[Sorry for the long message.|Sorry if I'm asking in the wrong place.]",
)
FOLLOW_UPS = (
    "One more thing: ",
    "Thanks. Another question: ",
    "Also, ",
    "And while we are at it, ",
    "OK, next one: ",
    "Good. Then ",
    "Before I go: ",
)
COMPLAINTS_BEFORE = (
    "[Again|Once more|Second time]: ",
    "[Still|No]. ",
    "[Not helpful|Not solved]. ",
    "[Come on|Please], ",
    "",
    "",
)
COMPLAINTS_AFTER = ("", "", " [Frustrating.|Really?]", " [Please check.|Hello?]")

REQUESTS: dict[str, tuple[str, ...]] = {
    "order_status": (
        "[where is|what happened to|can you check on] {order}?[| It was supposed to be here on {weekday}.]",
        "[could you tell me|I'd like to know] when {order} [arrives|will be delivered|gets to {city}].",
        "the tracking for {order} [has not moved|is stuck] since {weekday}. [What is going on?|Any news?]",
        "my {product} ({order}) [still isn't here|has not turned up], [where is it?|can you track it?]",
        "is {order} [on its way|shipped] yet? [I am waiting for the {product}.|]",
    ),
    "order_status_unnumbered": (
        "where is the {product} I [ordered|bought] [last week|ten days ago|recently]?",
        "[any news on|what about] my {product}? [It should have come on {weekday}.|]",
        "[can you see when|do you know when] my {product} [arrives|ships]?",
    ),
    "refund": (
        "I [want|would like] [my money back|a refund] for {order}, the {product} [doesn't fit|is not what I expected].",
        "please refund {order}[.|, I sent it back on {weekday}.|, I don't need the {product} any more.]",
        "[can I|how do I] [get a refund for|return] the {product} from {order}? [It's unopened.|I changed my mind.]",
        "the {product} in {order} [stopped working|is the wrong colour|is too small], [I want it refunded|refund me].",
        "[we agreed on a refund|I'm due a refund] for {order}[, please arrange it|. Can you do it now?]",
    ),
    "refund_status": (
        "[where is|when do I get] the refund for {order}? [I returned the {product} a while ago.|]",
        "I [can't see|haven't received] the refund for {order} [on my account|yet].",
        "[has|was] {order} [already been |]refunded? [My bank shows nothing.|]",
    ),
    "address": (
        "[please change|can you change] the [delivery|shipping] address of {order} to {address}.",
        "I [moved|have moved]: {order} [should|needs to] go to {address} [instead|now].",
        "{order} has the [wrong|old] address, [it must be|the right one is] {address}.",
        "[could you send|send] {order} to {address}, not to [my office|my old flat]?",
    ),
    "cancel": (
        "[please cancel|I want to cancel|cancel] {order}[.|, I found the {product} cheaper.|, it was a mistake.]",
        "[is it too late to|can I still] cancel {order}? [I don't need the {product} any more.|]",
        "I [ordered twice|clicked twice], so {order} [should be cancelled|can be cancelled].",
    ),
    "invoice": (
        "[I need|please send me|can I get] [the invoice|a VAT invoice|a receipt] for {order}.",
        "[my accountant|my employer] [asks for|needs] the invoice of {order}, [can you mail it?|please email it.]",
        "I [lost|never got] the [invoice|receipt] for {order}.",
    ),
    "damaged": (
        "the {product} from {order} [arrived broken|came damaged|has a crack]. [What now?|What can you do?]",
        "{order} [arrived|came] [open and damaged|with parts missing][, photos attached|].",
        "[I opened|just unpacked] {order} and the {product} [is scratched|doesn't switch on].",
    ),
    "overview": (
        "[can you list|give me an overview of] [all my orders|everything I ordered] [this month|lately]?",
        "which of my orders [are still open|have not arrived]? [I lost track.|]",
        "[I placed several orders|there are a few orders on my account], [what is the state of each|where are they]?",
    ),
    "stock": (
        "[do you have|is] the {product} [in stock|available] in [blue|green|black|size M|size L|grey]?",
        "when [is|will] the {product} [be back|in stock again]?",
        "[is there|do you have] any {product} [for|at] under [40|60|80|120] euros?",
    ),
    "clarify": (
        "[where is my parcel|my delivery is late|my package is missing], [can you look?|please check.]",
        "I [ordered as a guest|have no account] and [my parcel|the delivery] [never came|is late].",
        "[something is wrong with|I have a problem with] [my order|my last purchase].",
    ),
    "thanks": (
        "[thanks|thank you|great], [that's all|that helped|you've been helpful].",
        "[perfect|ok|wonderful], [thank you|cheers|bye].",
    ),
}

ANSWERS: dict[str, tuple[str, ...]] = {
    "in_transit": (
        "[Your|The] {product} (order {id}) [is on its way|left our warehouse] with {carrier} and [is due|arrives] on "
        "{eta}.",
        "Order {id} [shipped|was handed to {carrier}] on {ordered} and [should reach|will reach] {city} by {eta}.",
        "{carrier} [has|is carrying] your {product}; [the expected delivery|delivery] [is|is planned for] {eta}.",
    ),
    "delivered": (
        "Order {id} was delivered [to your address |]in {city} on {settled}[, according to {carrier}|].",
        "{carrier} [reports|confirms] that your {product} was [delivered|handed over] on {settled}.",
    ),
    "refund_issued": (
        "I[ have|'ve] [issued|processed|sent] [your|the] refund of {price} for order {id}. It [goes back|returns] to "
        "your {payment}[ within 5 to 7 working days|].",
        "[Done|All done|That's settled]: {price} [is on its way back|has been refunded] to your {payment}.",
        "[Good news|I'm happy to say], [{name}: |]your refund of {price} [has been processed|went through][ today|], "
        "and your {payment} will show it [within 5 to 7 working days|soon].",
        "Your money for the {product} ({price}) [has been returned|was sent back] to your {payment}.",
        "I[ have|'ve] [credited|refunded] {price} to your {payment} for the {product}.",
    ),
    "refund_after_return": (
        "The {product} [can be refunded|qualifies for a refund] once it is back with us. I[ have|'ve] sent a return "
        "label to your email; {price} [will be|is] refunded [after|when] [the parcel arrives|we have checked it].",
        "[You can return|Please send back] the {product}: the label is in your inbox. [As soon as|Once] it reaches us, "
        "[we issue|you get] the refund of {price} to your {payment}.",
    ),
    "refund_denied": (
        "[I'm sorry|Unfortunately], the {product} was [sold as|a] final sale, so [a refund is not possible|I cannot "
        "refund it]. The 24-month warranty still covers defects.",
        "A refund for order {id} is [not possible|excluded], because it was a final sale. [If the {product} is faulty, "
        "the warranty applies.|I can offer you an exchange instead.]",
    ),
    "refund_known": (
        "[Your|The] refund of {price} for order {id} was [issued|processed] on {settled}. [It can take|Banks take] "
        "5 to 7 working days[ to show it|].",
        "Order {id} has been refunded: {price} went [back |]to your {payment} on {settled}.",
    ),
    "address_changed": (
        "[The address of order {id} is now|I've changed the delivery address of order {id} to] {address}.",
        "[Done|All set]: order {id} [will go|goes] to {address}[, the rest stays as it was|].",
        "I[ have|'ve] updated [your|the] delivery address, so the {product} [comes|is sent] to {address}.",
    ),
    "too_late": (
        "Order {id} [has already shipped|is already with {carrier}], so [I can't change it any more|it can't be "
        "changed]. [You can refuse the parcel or return it free of charge.|{carrier} can redirect it in their app.]",
    ),
    "cancelled": (
        "[Order {id} is cancelled|I've cancelled order {id}][ as you asked|] and nothing will be [charged|shipped].",
        "[Done|That worked]: the order for the {product} ({id}) [has been|is] cancelled.",
    ),
    "invoice_sent": (
        "[I've sent|I have emailed] the invoice for order {id} to {email}.",
        "The [invoice|receipt] of order {id} [is in your inbox|was sent to {email}][ just now|].",
    ),
    "escalated": (
        "I[ have|'ve] [passed this to|opened a case with] our {team} team, ticket {ticket}. [They will|A colleague "
        "will] [get back to you|contact you] by {weekday}.",
        "[A colleague from|Someone in] our {team} team [takes over|is on it] now (ticket {ticket}) and [calls|writes "
        "to] you by {weekday}.",
    ),
    "error_admitted": (
        "[I'm sorry|Apologies], [the change did not go through|our system refused this just now], so nothing has been "
        "changed for order {id} yet. I[ have|'ve] opened ticket {ticket} with our {team} team, who will do it by hand.",
        "[That failed on our side|I could not complete this]: our system did not accept it[ twice|]. Ticket {ticket} "
        "is with our {team} team and they [confirm|write to you] by {weekday}.",
    ),
    "overview": (
        "You have {n} [orders|recent orders]: {list}.",
        "[Here is the list|This is what I see]: {list}. [That is all {n} of them.|]",
    ),
    "in_stock": (
        "[Yes|Good news], the {product} is [available|in stock] ({count} left) at {price}.",
        "The {product} [costs|is] {price} and we have {count} of them [in stock|ready to ship].",
    ),
    "out_of_stock": (
        "The {product} is [sold out|out of stock] [at the moment|right now]; new ones [are expected|should come] in on "
        "{eta}.",
    ),
    "ask_order_number": (
        "[Could you|Can you|Please] [give me|send me|share] [your|the] order number[, so that I can look it up|]?",
        "[I'd be glad to check|Happy to look into it]. [What is|May I have] [your|the] order number[| or the email you "
        "used]?",
        "[To find it|For that] I need the order number[ please|]; it [starts with SO|is in your confirmation email].",
    ),
    "welcome": (
        "[You're welcome|My pleasure|Glad I could help][, {name}|]![ Have a good day.|]",
        "[Any time|With pleasure]. [Enjoy your {product}!|Take care!]",
    ),
    "not_in_help": (
        "[I could not find|Our help pages do not say] [anything on that|this], so I would rather not guess. "
        "[I've asked our {team} team, ticket {ticket}.|You can reach our {team} team by phone from 9 to 17.]",
    ),
}
EMPATHY = (
    "",
    "",
    "[I'm sorry about the trouble|Sorry for the inconvenience][, {name}|]. ",
    "[Thanks for waiting|Thank you for your patience]. ",
    "[Hi|Hello] {name}. ",
    "[I understand|That's annoying, I know]. ",
)
HEALTHY_HEDGES = (
    " [Delivery times can vary|It might take a day longer] [around holidays|at weekends].",
    " [Usually|Normally] this [takes|is] a little [faster|quicker], but I can't promise that.",
    " [It may|It might] [take an hour|take a moment] until [the app|your account] shows it.",
    " I [think|believe] that [answers|covers] your question, but [tell me if not|just ask again].",
)
CLOSINGS = (
    "",
    "",
    " [Is there anything else|Anything else] [I can do|I can help with]?",
    " [Let me know|Just tell me] if [you need anything else|something is unclear].",
    " [Have a nice day|All the best]!",
)


class HelpPage(NamedTuple):
    """What the shop's help pages say on a topic, what people ask, and answers that stay with what is written."""

    text: str
    questions: tuple[str, ...]
    answers: tuple[str, ...]


HELP_PAGES: dict[str, HelpPage] = {
    "returns": HelpPage(
        "Returns: items can be returned within 30 days of delivery, unused and in original packaging. Return shipping "
        "is free within the EU. Personalised items cannot be returned.",
        ("[how long|until when] can I return [something|a {product}]?", "is sending [something|it] back free?"),
        (
            "You can return unused items within 30 days of delivery[, and return shipping is free within the EU|].",
            "[Unused items|A {product}] can go back for 30 days after delivery, in the original packaging.",
        ),
    ),
    "refunds": HelpPage(
        "Refunds: paid to the original payment method within 5 to 7 working days after the return was checked.",
        ("how long does a refund take?", "[which account|where] is a refund paid to?"),
        ("[We pay refunds|Refunds go] to the original payment method, 5 to 7 working days after the check.",),
    ),
    "shipping": HelpPage(
        "Shipping: standard delivery takes 2 to 4 working days and is free above €50, otherwise €4.90. Express "
        "delivery takes 1 working day and costs €9.90.",
        ("[how much|what] does shipping [cost|to {city} cost]?", "how fast is [express|delivery to {city}]?"),
        (
            "Standard delivery is free above €50 [and €4.90 below that|(otherwise €4.90)] and takes 2 to 4 "
            "working days.",
            "Express [delivery|shipping] costs €9.90 and arrives the next working day.",
        ),
    ),
    "warranty": HelpPage(
        "Warranty: all products carry a 24-month warranty against material and manufacturing defects. Wear, drops and "
        "water damage are excluded.",
        ("[what|how long] is the warranty on the {product}?", "is [water damage|a drop] covered by the warranty?"),
        (
            "The {product} has a 24-month warranty for [material and manufacturing|material] defects; drops and water "
            "damage are not covered.",
            "[We give|You have] 24 months of warranty. It does not cover wear, drops or water damage.",
        ),
    ),
    "gift_cards": HelpPage(
        "Gift cards: valid for 3 years from purchase, usable in several orders, not exchangeable for cash.",
        ("how long is a gift card valid?", "can I [use a gift card twice|get cash for a gift card]?"),
        ("Gift cards are valid for 3 years, can be used over several orders, but not exchanged for cash.",),
    ),
    "price_match": HelpPage(
        "Prices: we do not match prices of other shops. If our own price falls within 7 days of purchase, the "
        "difference is credited as a voucher on request.",
        ("do you match [prices|a lower price elsewhere]?", "the {product} got cheaper [yesterday|after I bought it]!"),
        (
            "We do not match other shops. If our own price [drops|falls] within 7 days, you [get|can ask for] a "
            "voucher for the difference.",
        ),
    ),
    "loyalty": HelpPage(
        "Loyalty club: one point per euro, 200 points give a €5 voucher. Points expire after 12 months.",
        ("how do [loyalty points|points] work?", "[when do|do] my points expire?"),
        ("You earn one point per euro; 200 points make a €5 voucher[, and points expire after 12 months|].",),
    ),
    "international": HelpPage(
        "International: we deliver to all EU countries, Norway and Switzerland. Customs duties outside the EU are paid "
        "by the recipient.",
        ("do you [ship|deliver] to [Norway|Switzerland|Canada|Iceland]?", "who pays customs?"),
        (
            "We deliver to the EU, Norway and Switzerland; [duties outside the EU are paid by the recipient|outside "
            "the EU the recipient pays customs].",
        ),
    ),
    "exchange": HelpPage(
        "Exchanges: one free exchange of size or colour per order within 30 days.",
        ("can I [swap|exchange] the {product} for another [size|colour]?",),
        ("[Yes: one|One] exchange of size or colour per order is free within 30 days.",),
    ),
}
HELP_QUERIES = ("{topic} policy", "{topic}", "{topic} rules", "customer question {topic}", "{topic} {product}")
